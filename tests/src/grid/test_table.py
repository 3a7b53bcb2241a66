import json

import pytest

from processor import TASKS
from src.grid.read_runs import Left, read_grid
from src.grid.table import Shipped, missing, rows_of, unlike, value_of
from tests.conftest import ROOT
from tests.src.grid.helpers import PUBLISHED, finished

NSMC = TASKS["nsmc"]
SHIPPED = Shipped(ROOT / "config", TASKS)


def records_in(tmp_path):
    return read_grid(tmp_path, TASKS)[0]


def value(tmp_path, view="selected"):
    records = records_in(tmp_path)
    fair = not any(SHIPPED.why_not_comparable(record) for record in records)
    return value_of(records, view, "acc", NSMC, PUBLISHED.score("koelectra-base-v3", "nsmc", "acc"), fair)


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
    found = value_of(records_in(tmp_path), "selected", "exact_match", TASKS["korquad"], None, True)
    assert (found.mean, found.difference, found.verdict) == (pytest.approx(84), None, "")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"status": "other"}, "not the published train and test file"),
        (
            {"rest": ("--eval_all_checkpoints", "false")},
            "other settings than those of the published runs (eval_all_checkpoints False)",
        ),
        ({"rest": ("--from_scratch",)}, "other settings than those of the published runs (from_scratch True)"),
        ({"rest": ("--revision", "abc")}, "other settings than those of the published runs (revision abc)"),
        (
            {"rest": ("--max_steps", "9", "--dev_ratio", "0.1")},
            "other settings than those of the published runs (dev_ratio 0.1, max_steps 9)",
        ),
    ],
)
def test_what_is_not_compared(tmp_path, changes, reason):
    finished(tmp_path, **changes)
    assert SHIPPED.why_not_comparable(records_in(tmp_path)[0]) == reason
    assert (value(tmp_path).difference, value(tmp_path).verdict) == (None, "")


def test_what_is_compared_all_the_same(tmp_path):
    """What a setting has anyway may be said, and how a GPU computes."""
    finished(tmp_path, rest=("--max_seq_len", "128", "--mixed_precision", "bf16", "--eval_batch_size", "8"))
    assert value(tmp_path).verdict == "inside" or value(tmp_path).verdict == "outside"


def test_rows_are_in_the_published_order_and_then_by_name(tmp_path):
    for model in ("tiny", "xlm-roberta", "koelectra-small", "kobert", "klue-bert-base", "kcbert-base"):
        folder = finished(tmp_path, model=model).folder / "checkpoint-20"
        folder.mkdir()
        with open(folder / "model.safetensors", "wb") as weights:
            weights.truncate({"klue-bert-base": 443 * 2**20, "kcbert-base": 1500 * 2**20}.get(model, 2**20))
    found = [(row.title, row.table, row.size) for row in rows_of(records_in(tmp_path), PUBLISHED, SHIPPED)]
    assert found == [
        ("KoBERT", "base", "351M"),
        ("XLM-RoBERTa-Base", "base", "1.03G"),
        ("kcbert-base", "base", "1.46G"),
        ("klue-bert-base", "base", "443M"),
        ("KoELECTRA-Small", "small", "53M"),
        ("tiny", "small", "1M"),
    ]


def test_a_model_whose_weights_are_gone_is_neither_small_nor_base(tmp_path):
    finished(tmp_path, model="tiny")
    (row,) = rows_of(records_in(tmp_path), PUBLISHED, SHIPPED)
    assert (row.title, row.table, row.size) == ("tiny", "unknown", "-")


def test_another_model_does_not_go_by_a_published_name(tmp_path):
    """A config file of one's own that is called like a published one."""
    mine = tmp_path / "koelectra-small-v3.json"
    mine.write_text('{"model_name_or_path": "x/y"}')
    finished(tmp_path, model=str(mine))
    (row,) = rows_of(records_in(tmp_path), PUBLISHED, SHIPPED)
    assert (row.title, row.size) == ("koelectra-small-v3", "-")
    assert "model_name_or_path x/y" in SHIPPED.why_not_comparable(records_in(tmp_path)[0])


def test_missing_are_seeds_and_tasks_that_others_have(tmp_path):
    for model, task, seed in [("tiny", "nsmc", 1), ("tiny", "nsmc", 2), ("tiny", "paws", 1), ("kcbert-base", "nsmc", 1)]:
        finished(tmp_path, model=model, task=task, seed=seed)
    left = [Left("failed", "kcbert-base/nsmc/seed-3", ""), Left("foreign", "tiny/nsmc/seed-99", "")]
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
    assert texts == {"max_steps: -1 (kcbert-base seed 1 2, tiny seed 2); 5 (tiny seed 1)": ["nsmc"]}
    assert marked == {("tiny", "nsmc")}


def test_to_say_what_is_so_anyway_makes_no_difference(tmp_path):
    finished(tmp_path, seed=1, rest=("--max_seq_len", "128"))
    finished(tmp_path, seed=2)
    assert unlike(records_in(tmp_path), TASKS) == ({}, set())


def test_what_was_scored_anew_in_another_way(tmp_path):
    """The settings of the run were changed, and not its layers."""
    finished(tmp_path, model="kobert", task="korquad")
    settings = finished(tmp_path, model="tiny", task="korquad").folder / "settings.json"
    settings.write_text(settings.read_text().replace('"answer_text": "offsets"', '"answer_text": "legacy"'))
    assert unlike(records_in(tmp_path), TASKS)[0] == {"answer_text: offsets (kobert seed 1); legacy (tiny seed 1)": ["korquad"]}


def test_what_a_column_does_not_tell_of_a_model_is_told_of_it(tmp_path):
    """The rate of A's own file changed between its seeds; B has the default, C says another on the command line."""
    config = tmp_path / "a.json"
    for seed, rate in [(1, "1e-5"), (2, "2e-5")]:
        config.write_text(f'{{"model_name_or_path": "x/y", "learning_rate": {rate}}}')
        finished(tmp_path, model=str(config), seed=seed)
    finished(tmp_path, model="kobert")
    finished(tmp_path, model="kcbert-base", rest=("--learning_rate", "1e-4"))
    texts, marked = unlike(records_in(tmp_path), TASKS)
    assert set(texts) == {
        "learning_rate: 0.0001 (kcbert-base seed 1); 5e-05 (kobert seed 1)",
        "learning_rate: 1e-05 (a seed 1); 2e-05 (a seed 2)",
    }
    assert ("a", "nsmc") in marked


def test_a_users_folder_that_is_called_tasks(tmp_path):
    (tmp_path / "tasks").mkdir()
    mine = tmp_path / "tasks" / "mine.json"
    mine.write_text('{"model_name_or_path": "x/y", "learning_rate": 1e-5}')
    finished(tmp_path, model=str(mine))
    finished(tmp_path, model="kobert")
    assert unlike(records_in(tmp_path), TASKS) == ({}, set())


def test_less_checkpoints_were_scored_on_test(tmp_path):
    """The best of two is not the best of three."""
    for seed in (1, 2, 3):
        results = finished(tmp_path, seed=seed).folder / "eval_results.json"
        content = json.loads(results.read_text())
        content["scores"]["15"] = {"dev" if seed == 3 else "test": {"acc": 0.5}}
        results.write_text(json.dumps(content))
    texts, marked = unlike(records_in(tmp_path), TASKS)
    assert texts == {"checkpoints scored on test: 3 (koelectra-base-v3 seed 1 2); 2 (koelectra-base-v3 seed 3)": ["nsmc"]}
    assert marked == {("koelectra-base-v3", "nsmc")}


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
