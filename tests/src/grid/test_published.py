import json

import pytest

from processor import TASKS
from src.grid.published import Published
from src.grid.record import scores_of
from tests.conftest import ROOT, SHARED

PATH = ROOT / "processor" / "published_scores.json"


@pytest.fixture(scope="module")
def published():
    return Published.read(PATH)


def test_the_models_are_those_of_the_config_files_and_every_score_has_a_spread(published):
    assert len(published.models) == 12
    assert sum(len(model["scores"]) for model in published.models.values()) == 10 * 8 + 4 + 6
    for name, model in published.models.items():
        assert (ROOT / "config" / f"{name}.json").is_file()
        assert model["table"] in ("base", "small") and model["source"] in published.sources
        for task, scores in model["scores"].items():
            assert tuple(scores) == scores_of(TASKS[task])
            for score in scores:
                assert published.score(name, task, score).tolerance > 0
    assert {found["of"] for scores in published.spread.values() for found in scores.values()} == set(published.spread_of)


def test_the_tolerance_is_the_reruns_spread_and_half_of_the_last_digit(published):
    """90.63 has two digits, Soongsil-BERT's 91.2 one and its 76 none: what is rounded leaves more room."""
    assert published.score("koelectra-base-v3", "nsmc", "acc").tolerance == pytest.approx(0.46 + 0.005)
    assert published.score("soongsil-bert-base", "nsmc", "acc").tolerance == pytest.approx(0.46 + 0.05)
    assert published.score("soongsil-bert-base", "korsts", "spearmanr").tolerance == pytest.approx(2.0 + 0.5)


def test_inside_ends_at_the_tolerance(published):
    score = published.score("koelectra-base-v3", "paws", "acc")
    assert (score.value, score.tolerance) == (84.45, pytest.approx(3.205))
    assert [score.is_near(mean) for mean in (84.45, 87.655, 87.66, 81.245, 81.24)] == [True, True, False, True, False]


def test_what_nobody_has_published(published):
    assert published.score("klue-bert-base", "nsmc", "acc") is None
    assert published.score("soongsil-bert-base", "paws", "acc") is None


def test_readme_shows_the_same_numbers(published):
    """A row for each model: title, config file, size and the eight columns."""
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    rows = [[cell.strip(" `*") for cell in line.strip("|").split("|")] for line in lines]
    by_file = {row[1]: row for row in rows if len(row) == 11}
    for name, model in published.models.items():
        title, _, size, *cells = by_file[f"{name}.json"]
        assert (title, size) == (model["title"], model["size"])
        assert cells == [" / ".join(model["scores"][task].values()) if task in model["scores"] else "-" for task in TASKS]


def test_the_numbers_are_those_of_the_two_tables(published, shared):
    source = json.loads((SHARED / "reference" / "published_scores.json").read_text(encoding="utf-8"))["scores"]
    assert len(source) == len(published.models)
    theirs = [(row["table"], row["size"], row["scores"]) for row in source]
    for model in published.models.values():
        scores = {task: [float(text) for text in found.values()] for task, found in model["scores"].items()}
        flat = {task: found if len(found) > 1 else found[0] for task, found in scores.items()}
        theirs.remove((model["table"], model["size"], flat))
    assert not theirs
