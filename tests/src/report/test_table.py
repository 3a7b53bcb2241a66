import pytest

from processor.definition import TASKS
from src.report.comparability import PublishedSettings
from src.report.published import PublishedScore
from src.report.table import make_rows, mean_of
from tests.conftest import ROOT
from tests.src.report.helpers import PUBLISHED, finished, records_in

SETTINGS = PublishedSettings(ROOT / "config", TASKS, PUBLISHED)


def score_of(tmp_path, view="selected", task="nsmc", name="acc", comparable=True):
    published = PUBLISHED.score("koelectra-base-v3", task, name)
    scores = [record.percent(view, TASKS[task], name) for record in records_in(tmp_path)]
    return mean_of(scores, published, comparable)


def test_mean_and_standard_deviation(tmp_path):
    """90, 91 and 92: mean 91, deviation sqrt((1 + 0 + 1) / 2) = 1; published is 90.63 with a tolerance of 0.465."""
    for seed, score in enumerate((90.0, 91.0, 92.0)):
        finished(tmp_path, seed=seed, score=score, best=score + 1)
    score = score_of(tmp_path)
    assert (score.mean, score.sd, score.n) == (pytest.approx(91), pytest.approx(1), 3)
    assert (score.difference, score.verdict) == (pytest.approx(0.37), "inside")
    best = score_of(tmp_path, "best_on_test")
    assert (best.mean, best.verdict) == (pytest.approx(92), "outside")


def test_one_run_has_no_standard_deviation(tmp_path):
    finished(tmp_path, score=90.0)
    assert (score_of(tmp_path).sd, score_of(tmp_path).n) == (None, 1)


def test_scores_from_0_to_100_are_in_percent(tmp_path):
    finished(tmp_path, task="korquad", score=84.0)
    assert score_of(tmp_path, task="korquad", name="exact_match").mean == pytest.approx(84)


def test_nothing_is_compared_unless_it_is_comparable(tmp_path):
    finished(tmp_path)
    score = score_of(tmp_path, comparable=False)
    assert (score.difference, score.verdict) == (None, "")


def test_no_verdict_without_a_known_spread():
    score = mean_of([90.0], PublishedScore("89.5", None), True)
    assert (score.difference, score.verdict) == (pytest.approx(0.5), "")


def test_rows_are_in_the_published_order_and_then_by_name(tmp_path):
    for model in ("tiny", "xlm-roberta", "koelectra-small", "kobert", "klue-bert-base", "mmbert-base"):
        folder = finished(tmp_path, model=model).folder / "checkpoint-20"
        folder.mkdir()
        with open(folder / "model.safetensors", "wb") as weights:
            weights.truncate({"klue-bert-base": 443 * 2**20, "mmbert-base": 1500 * 2**20}.get(model, 2**20))
    rows = [(row.title, row.table, row.size) for row in make_rows(records_in(tmp_path), PUBLISHED, SETTINGS)]
    assert rows == [
        ("KoBERT", "base", "351M"),
        ("XLM-RoBERTa-Base", "base", "1.03G"),
        ("KLUE-BERT-Base", "base", "443M"),
        ("mmbert-base", "base", "1.46G"),
        ("KoELECTRA-Small", "small", "53M"),
        ("tiny", "small", "1M"),
    ]


def test_models_without_saved_weights_are_neither_small_nor_base(tmp_path):
    finished(tmp_path, model="tiny")
    (row,) = make_rows(records_in(tmp_path), PUBLISHED, SETTINGS)
    assert (row.title, row.table, row.size) == ("tiny", "unknown", "-")


def test_another_model_does_not_get_a_published_title(tmp_path):
    """A config file of a user may have the name of a published one."""
    mine = tmp_path / "koelectra-small-v3.json"
    mine.write_text('{"model_name_or_path": "x/y"}')
    finished(tmp_path, model=str(mine))
    (row,) = make_rows(records_in(tmp_path), PUBLISHED, SETTINGS)
    assert (row.title, row.size) == ("koelectra-small-v3", "-")
    assert "model_name_or_path x/y" in SETTINGS.reason_not_comparable(records_in(tmp_path)[0])
