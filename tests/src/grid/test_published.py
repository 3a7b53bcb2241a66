import json
from dataclasses import replace

import pytest

from processor import TASKS
from src.grid.published import Published
from tests.conftest import ROOT, SHARED

PATH = ROOT / "processor" / "published_scores.json"


@pytest.fixture(scope="module")
def published():
    return Published.read(PATH)


def test_every_model_has_a_config_file_and_every_score_a_spread(published):
    for name, model in published.models.items():
        assert (ROOT / "config" / f"{name}.json").is_file()
        assert model["table"] in ("base", "small") and model["source"] in published.sources
        for task, scores in model["scores"].items():
            assert tuple(scores) == TASKS[task].scores
            for score in scores:
                assert published.score(name, task, score).tolerance > 0
    assert {spread["of"] for scores in published.spread.values() for spread in scores.values()} == set(published.spread_of)


def test_tolerance_is_the_spread_of_reruns_plus_half_of_the_last_digit(published):
    """90.63 has two decimals, Soongsil-BERT's 91.2 has one and its 76 none."""
    assert published.score("koelectra-base-v3", "nsmc", "acc").tolerance == pytest.approx(0.46 + 0.005)
    assert published.score("soongsil-bert-base", "nsmc", "acc").tolerance == pytest.approx(0.46 + 0.05)
    assert published.score("soongsil-bert-base", "korsts", "spearmanr").tolerance == pytest.approx(2.0 + 0.5)


def test_verdict_is_inside_up_to_the_tolerance(published):
    score = published.score("koelectra-base-v3", "paws", "acc")
    assert (score.value, score.tolerance) == (84.45, pytest.approx(3.205))
    assert [score.verdict(mean) for mean in (84.45, 87.655, 81.245)] == ["inside"] * 3
    assert [score.verdict(mean) for mean in (87.66, 81.24)] == ["outside"] * 2


def test_scores_without_a_known_spread_have_no_verdict(published):
    score = replace(published, spread={}).score("koelectra-base-v3", "paws", "acc")
    assert (score.value, score.tolerance, score.verdict(84.45)) == (84.45, None, "")


def test_models_and_tasks_without_published_scores(published):
    assert published.score("klue-bert-base", "nsmc", "acc") is None
    assert published.score("soongsil-bert-base", "paws", "acc") is None


def test_readme_has_the_same_numbers(published):
    """One row per model: title, config file, size and one column per published task."""
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    rows = [[cell.strip(" `*") for cell in line.strip("|").split("|")] for line in lines]
    tasks = list(published.spread)
    by_file = {row[1]: row for row in rows if len(row) == 3 + len(tasks)}
    for name, model in published.models.items():
        title, _, size, *cells = by_file[f"{name}.json"]
        assert (title, size) == (model["title"], model["size"])
        assert cells == [" / ".join(model["scores"][task].values()) if task in model["scores"] else "-" for task in tasks]


def test_scores_equal_the_published_tables(published, shared):
    source = json.loads((SHARED / "reference" / "published_scores.json").read_text(encoding="utf-8"))["scores"]
    assert len(source) == len(published.models)
    remaining = [(row["table"], row["size"], row["scores"]) for row in source]
    for model in published.models.values():
        scores = {task: [float(text) for text in texts.values()] for task, texts in model["scores"].items()}
        flat = {task: values if len(values) > 1 else values[0] for task, values in scores.items()}
        remaining.remove((model["table"], model["size"], flat))
    assert not remaining
