import pytest

from processor import TASKS
from src.grid.published import Published
from src.grid.records import Left, read_grid
from src.grid.table import missing, rows_of, unlike, value_of, why_not_comparable
from tests.conftest import ROOT
from tests.src.grid.helpers import finished

PUBLISHED = Published.read(ROOT / "processor" / "published_scores.json")
NSMC = TASKS["nsmc"]


def records_in(tmp_path):
    return read_grid(tmp_path, TASKS)[0]


def value(tmp_path, view="selected"):
    return value_of(records_in(tmp_path), view, "acc", NSMC, PUBLISHED.score("koelectra-base-v3", "nsmc", "acc"))


def test_mean_and_deviation_of_the_sample(tmp_path):
    """90, 91 and 92: mean 91, deviation sqrt((1 + 0 + 1) / 2) = 1; published is 90.63 with a tolerance of 0.465."""
    for seed, score in enumerate((90.0, 91.0, 92.0)):
        finished(tmp_path, seed=seed, score=score, best=score + 1)
    found = value(tmp_path)
    assert (found.mean, found.sd, found.n) == (pytest.approx(91), pytest.approx(1), 3)
    assert (found.difference, found.verdict) == (pytest.approx(0.37), "inside")
    best = value(tmp_path, "best_on_test")
    assert (best.mean, best.verdict) == (pytest.approx(92), "outside")


def test_one_run_has_no_deviation(tmp_path):
    finished(tmp_path, score=90.0)
    assert (value(tmp_path).sd, value(tmp_path).n) == (None, 1)


def test_korquads_scores_are_percent_already(tmp_path):
    finished(tmp_path, task="korquad", score=84.0)
    found = value_of(records_in(tmp_path), "selected", "exact_match", TASKS["korquad"], None)
    assert (found.mean, found.difference, found.verdict) == (pytest.approx(84), None, "")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"status": "other"}, "not the published train and test file"),
        ({"model": "data/sample/tiny-electra"}, "other weights than the model's file names"),
        ({"rest": ("--from_scratch",)}, "other weights than the model's file names"),
        ({"rest": ("--revision", "abc")}, "other weights than the model's file names"),
    ],
)
def test_what_is_not_compared(tmp_path, changes, reason):
    finished(tmp_path, **changes)
    assert why_not_comparable(records_in(tmp_path)[0]) == reason
    assert (value(tmp_path).difference, value(tmp_path).verdict) == (None, "")


def test_rows_are_in_the_published_order_and_then_by_name(tmp_path):
    for model in ("tiny", "xlm-roberta", "koelectra-small", "kobert", "klue-bert-base", "kcbert-base"):
        folder = finished(tmp_path, model=model).folder / "checkpoint-20"
        folder.mkdir()
        with open(folder / "model.safetensors", "wb") as weights:
            weights.truncate({"klue-bert-base": 443 * 2**20, "kcbert-base": 1500 * 2**20}.get(model, 2**20))
    found = [(row.title, row.table, row.size) for row in rows_of(records_in(tmp_path), PUBLISHED)]
    assert found == [
        ("KoBERT", "base", "351M"),
        ("XLM-RoBERTa-Base", "base", "1.03G"),
        ("kcbert-base", "base", "1.46G"),
        ("klue-bert-base", "base", "443M"),
        ("KoELECTRA-Small", "small", "53M"),
        ("tiny", "small", "1M"),
    ]


def test_a_model_of_other_weights_does_not_go_by_the_published_name(tmp_path):
    finished(tmp_path, rest=("--from_scratch",))
    (row,) = rows_of(records_in(tmp_path), PUBLISHED)
    assert (row.title, row.size) == ("koelectra-base-v3", "-")


def test_missing_are_seeds_and_tasks_that_others_have(tmp_path):
    for model, task, seed in [("tiny", "nsmc", 1), ("tiny", "nsmc", 2), ("tiny", "paws", 1), ("kcbert-base", "nsmc", 1)]:
        finished(tmp_path, model=model, task=task, seed=seed)
    left = [Left("failed", "kcbert-base/nsmc/seed-3", ""), Left("foreign", "kcbert-base/notes", "")]
    found = [(each.place, each.why) for each in missing(records_in(tmp_path), left, TASKS)]
    assert found == [
        ("kcbert-base/nsmc", "seed 2"),
        ("kcbert-base/paws", "seed 1, 2, 3"),
        ("tiny/nsmc", "seed 3"),
        ("tiny/paws", "seed 2, 3"),
    ]


def test_runs_that_are_alike(tmp_path):
    """The hyperparameters of two models differ, as their files say; nothing to tell."""
    for model in ("koelectra-base-v3", "xlm-roberta"):
        for seed in (1, 2):
            finished(tmp_path, model=model, seed=seed)
    assert unlike(records_in(tmp_path), TASKS) == ({}, set())


def test_what_was_said_on_the_command_line_for_some(tmp_path):
    for model, seed, rest in [("tiny", 1, ("--max_steps", "5")), ("tiny", 2, ()), ("kcbert-base", 1, ()), ("kcbert-base", 2, ())]:
        finished(tmp_path, model=model, seed=seed, rest=rest)
    texts, marked = unlike(records_in(tmp_path), TASKS)
    assert texts == {"max_steps: not given (kcbert-base seed 1 2, tiny seed 2); 5 (tiny seed 1)": ["nsmc"]}
    assert marked == {("tiny", "nsmc")}


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"sha256": "b" * 64}, "test file: aaaaaaaaaaaa (kcbert-base seed 1); bbbbbbbbbbbb (tiny seed 1)"),
        ({"precision": "bf16"}, "precision: no (kcbert-base seed 1); bf16 (tiny seed 1)"),
        ({"torch": "2.14.0"}, "version of torch: 2.13.0 (kcbert-base seed 1); 2.14.0 (tiny seed 1)"),
        ({"by": "dev"}, "checkpoint selected by: last (kcbert-base seed 1); dev (tiny seed 1)"),
    ],
)
def test_other_conditions(tmp_path, changes, text):
    """As many of the one as of the other: nobody can say which is the odd one."""
    finished(tmp_path, model="kcbert-base")
    finished(tmp_path, model="tiny", **changes)
    texts, marked = unlike(records_in(tmp_path), TASKS)
    assert texts[text] == ["nsmc"]
    assert marked == {("kcbert-base", "nsmc"), ("tiny", "nsmc")}


def test_between_seeds_every_setting_counts(tmp_path):
    """The model's file was edited between two seeds."""
    config = tmp_path / "mine.json"
    for seed, rate in [(1, "1e-5"), (2, "2e-5"), (3, "2e-5")]:
        config.write_text(f'{{"model_name_or_path": "x/y", "learning_rate": {rate}}}')
        finished(tmp_path, model=str(config), seed=seed)
    finished(tmp_path, model="tiny", seed=1)
    texts, marked = unlike(records_in(tmp_path), TASKS)
    assert texts == {"learning_rate: 1e-05 (mine seed 1); 2e-05 (mine seed 2 3)": ["nsmc"]}
    assert marked == {("mine", "nsmc")}


def test_weights_that_changed_between_two_seeds(tmp_path):
    for seed, weights in [(1, "a" * 64), (2, "b" * 64), (3, "b" * 64)]:
        finished(tmp_path, model="tiny", seed=seed, weights=weights)
    finished(tmp_path, model="kobert", weights="c" * 64)
    texts, marked = unlike(records_in(tmp_path), TASKS)
    assert texts == {"weights: aaaaaaaaaaaa (tiny seed 1); bbbbbbbbbbbb (tiny seed 2 3)": ["nsmc"]}
    assert marked == {("tiny", "nsmc")}


def test_the_same_difference_in_several_columns_is_told_once(tmp_path):
    for task in ("nsmc", "paws"):
        finished(tmp_path, model="kcbert-base", task=task)
        finished(tmp_path, model="tiny", task=task, torch="2.14.0")
    assert list(unlike(records_in(tmp_path), TASKS)[0].values()) == [["nsmc", "paws"]]
