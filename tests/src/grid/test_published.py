import json
from dataclasses import replace

import pytest

from processor import TASKS
from src.grid.published import Published
from tests.conftest import ROOT, SHARED

PATH = ROOT / "processor" / "published_scores.json"
TABLES = json.loads(PATH.read_text(encoding="utf-8"))["tables"]
OF_THE_EIGHT = TABLES["koelectra"] | TABLES["soongsil"]


@pytest.fixture(scope="module")
def published():
    return Published.read(PATH)


def test_every_model_has_a_config_file_and_scores_of_one_source_for_each_task(published):
    assert published.tables.keys() == published.sources.keys()
    assert {name for table in published.tables.values() for name in table} == published.models.keys()
    for name, model in published.models.items():
        assert (ROOT / "config" / f"{name}.json").is_file()
        assert model["table"] in ("base", "small")
        tasks = [task for table in published.tables.values() for task in table.get(name, {})]
        assert len(tasks) == len(set(tasks))
        for task, scores in published.scores(name).items():
            assert tuple(scores) == TASKS[task].scores


def test_every_score_that_runs_are_compared_with_has_a_spread(published):
    compared = [name for name, source in published.sources.items() if "not_compared" not in source]
    assert compared == ["koelectra", "soongsil"]
    for name, tasks in ((name, tasks) for source in compared for name, tasks in published.tables[source].items()):
        assert all(published.score(name, task, score).tolerance > 0 for task, scores in tasks.items() for score in scores)
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
    assert published.score("klue-bert-base", "ynat", "f1").text == "85.73"
    assert published.score("soongsil-bert-base", "paws", "acc") is None


def test_readme_has_the_same_numbers(published):
    """One row per model: title, config file, size and one column per published task."""
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    rows = [[cell.strip(" `*") for cell in line.strip("|").split("|")] for line in lines]
    tasks = list(published.spread)
    by_file = {row[1]: row for row in rows if len(row) == 3 + len(tasks)}
    assert {name.removesuffix(".json") for name in by_file if name.endswith(".json")} == OF_THE_EIGHT.keys()
    for name in OF_THE_EIGHT:
        model, scores = published.models[name], published.scores(name)
        title, _, size, *cells = by_file[f"{name}.json"]
        assert (title, size) == (model["title"], model["size"])
        assert cells == [" / ".join(scores[task].values()) if task in scores else "-" for task in tasks]


def test_scores_equal_the_published_tables(published, shared):
    source = json.loads((SHARED / "reference" / "published_scores.json").read_text(encoding="utf-8"))["scores"]
    assert len(source) == len(OF_THE_EIGHT)
    remaining = [(row["table"], row["size"], row["scores"]) for row in source]
    for name, tasks in OF_THE_EIGHT.items():
        model = published.models[name]
        scores = {task: [float(text) for text in texts.values()] for task, texts in tasks.items()}
        flat = {task: values if len(values) > 1 else values[0] for task, values in scores.items()}
        remaining.remove((model["table"], model["size"], flat))
    assert not remaining
