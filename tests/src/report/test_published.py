import json
import math
from dataclasses import replace

import pytest

from processor.definition import TASKS
from src.report.published import Published
from tests.conftest import ROOT, SHARED

PATH = ROOT / "src" / "report" / "published_scores.json"
TABLES = json.loads(PATH.read_text(encoding="utf-8"))["tables"]
OF_THE_EIGHT = TABLES["koelectra"] | TABLES["soongsil"]


@pytest.fixture(scope="module")
def published():
    return Published.read(PATH)


def test_every_source_has_a_protocol_and_every_model_scores_of_the_tasks(published):
    assert list(published.tables) == list(published.sources)
    assert {source["protocol"] for source in published.sources.values()} == published.protocols.keys()
    assert {name for table in published.tables.values() for name in table} == published.models.keys()
    assert {model["table"] for model in published.models.values()} == {"base", "small"}
    for row in published.rows("all"):
        assert row.scores and all(tuple(scores) == TASKS[task].scores for task, scores in row.scores.items())
        for score in (score for scores in row.scores.values() for score in scores.values()):
            assert 0 < float(score.text) < 100 and (score.sd is None) == (score.n is None)


def test_only_the_first_protocol_is_compared(published):
    first, *others = published.protocols.values()
    assert next(iter(published.protocols)) == "koelectra-finetune"
    assert "not_compared" not in first and all(protocol["not_compared"] for protocol in others)
    compared = [name for name in published.sources if not published.reason_not_compared(name)]
    assert compared == ["koelectra", "soongsil", "kocharelectra"]
    assert published.seeds == compared[:2]


def test_every_score_that_runs_are_compared_with_has_a_spread(published):
    for row in published.rows("all"):
        for task, scores in row.scores.items():
            if not published.reason_not_compared(row.source):
                assert all(published.score(row.model, task, score).tolerance > 0 for score in scores)
    kinds = {kind for scores in published.spread.values() for spread in scores.values() for kind in spread}
    assert kinds == set(published.spread_of)


@pytest.mark.parametrize(
    ("model", "task", "source"),
    [
        ("kobert", "nsmc", "koelectra"),  # KoMiniLM's rerun, too
        ("koelectra-base-v3", "nsmc", "koelectra"),  # KoBigBird's, too
        ("kcbert-base", "nsmc", "kcbert"),  # LMkor's and KoMiniLM's, too; none is compared
        ("kcbert-base", "hate-speech", "lmkor"),  # TUNiB's, too
        ("kcelectra-base-v2021", "hate-speech", "tunib"),
        ("klue-bert-base", "ynat", "klue"),
        ("mmbert-base", "nsmc", None),
    ],
)
def test_the_source_beside_runs_is_the_first_that_is_compared(published, model, task, source):
    assert published.source(model, task) == source
    if source:
        assert published.scores(model)[task] == published.tables[source][model][task]


def test_a_source_that_is_compared_comes_before_earlier_ones_that_are_not(published):
    changed = {**published.sources, "koelectra": {**published.sources["koelectra"], "protocol": "own code"}}
    other = {**published.tables, "kocharelectra": {"kobert": published.tables["kominilm"]["kobert"]}}
    assert replace(published, sources=changed, tables=other).source("kobert", "nsmc") == "kocharelectra"


def test_rows_that_are_shown(published):
    rows = list(published.rows("all"))
    assert len({(row.model, row.source) for row in rows}) == len(rows) == sum(map(len, published.tables.values()))
    assert [row.source for row in rows if row.model == "kcbert-base"] == ["kcbert", "lmkor", "kominilm", "tunib"]
    assert [row.model for row in published.rows("seeds")] == [name for name in published.models if name in OF_THE_EIGHT]
    assert list(published.rows("none")) == []
    (row,) = [row for row in rows if (row.model, row.source) == ("klue-bert-base", "kominilm")]
    assert (row.title, row.table, row.size) == ("KLUE-BERT-Base", "base", "-")
    assert row.protocol == "koelectra-finetune (other settings)"
    assert row.scores["korquad"] == {"exact_match": ("84.43", 0.18, 3), "f1": ("93.05", 0.04, 3)}


def test_the_spread_of_seeds_is_twice_the_pooled_deviation_of_the_rows(published):
    """Six models of KoMiniLM's table. KoBERT's 2.81 on KorSTS does not decide alone: the others have at most 0.51."""
    deviations = {}
    for row in published.rows("all"):
        for task, scores in row.scores.items():
            for name, score in scores.items():
                if score.sd is not None:
                    deviations.setdefault((task, name), []).append(score.sd)
    assert sorted(deviations["korsts", "spearmanr"]) == [0.07, 0.11, 0.14, 0.27, 0.51, 2.81]
    for task, scores in published.spread.items():
        for name, spread in scores.items():
            squares = [sd**2 for sd in deviations.get((task, name), [0.0])]
            assert spread.get("seeds", 0.0) == round(2 * math.sqrt(sum(squares) / len(squares)), 2)


@pytest.mark.parametrize(
    ("task", "score", "largest"),
    [
        ("nsmc", "acc", ("reruns", 0.46)),
        ("naver-ner", "f1", ("reruns", 1.81)),
        ("paws", "acc", ("reruns", 3.2)),
        ("kornli", "acc", ("reruns", 1.45)),
        ("korsts", "spearmanr", ("seeds", 2.35)),
        ("question-pair", "acc", ("reruns", 0.92)),
        ("korquad", "exact_match", ("reruns", 1.06)),
        ("korquad", "f1", ("reruns", 1.12)),
        ("hate-speech", "f1", ("rows", 4.0)),
        ("ynat", "f1", (None, None)),
    ],
)
def test_the_largest_spread_counts(published, task, score, largest):
    assert published.largest_spread(task, score) == largest


def test_tolerance_is_the_largest_spread_plus_half_of_the_last_digit(published):
    """90.63 has two decimals, Soongsil-BERT's 91.2 has one and its 76 none."""
    assert published.score("koelectra-base-v3", "nsmc", "acc").tolerance == pytest.approx(0.46 + 0.005)
    assert published.score("soongsil-bert-base", "nsmc", "acc").tolerance == pytest.approx(0.46 + 0.05)
    assert published.score("soongsil-bert-base", "korsts", "spearmanr").tolerance == pytest.approx(2.35 + 0.5)


def test_verdict_is_inside_up_to_the_tolerance(published):
    score = published.score("koelectra-base-v3", "paws", "acc")
    assert (score.value, score.tolerance) == (84.45, pytest.approx(3.205))
    assert [score.verdict(mean) for mean in (84.45, 87.655, 81.245)] == ["inside"] * 3
    assert [score.verdict(mean) for mean in (87.66, 81.24)] == ["outside"] * 2


def test_scores_without_a_known_spread_have_no_verdict(published):
    score = replace(published, spread={}).score("koelectra-base-v3", "paws", "acc")
    assert (score.value, score.tolerance, score.verdict(84.45)) == (84.45, None, "")


def test_models_and_tasks_without_published_scores(published):
    assert published.score("mmbert-base", "nsmc", "acc") is None
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
        texts = {task: " / ".join(score.text for score in scores[task].values()) for task in scores}
        assert cells == [texts.get(task, "-") for task in tasks]


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
