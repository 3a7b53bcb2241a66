import pytest

from processor import TASKS
from src.errors import CheckpointError, ConfigError
from src.grid.compare import compare, show
from tests.src.grid.helpers import finished, predictions

MODELS = ("kcbert-base", "tiny")


def said(tmp_path, model, found, seed=1, label=None, step=20, **more):
    """A run on nsmc with these predictions for the labels, a character each."""
    label = label or ("0101" * 25)[: len(found)]
    score = 100 * sum(one == other for one, other in zip(label, found, strict=True)) / len(label)
    cell = finished(tmp_path, model=model, seed=seed, score=score, **more)
    predictions(cell, {"index": range(len(label)), "document": label, "label": label, "prediction": found}, step)
    return cell


def test_one_is_better(tmp_path):
    """Right on 100 of 100 rows and on 75: a difference of 25 with the deviation sqrt(0.25 * 0.75 / 100) = 4.33."""
    said(tmp_path, "kcbert-base", "0101" * 25)
    said(tmp_path, "tiny", "0111" * 25)
    ((found,), _) = compare(tmp_path, MODELS, [], "selected", TASKS)
    assert (found.task, found.score, found.rows, found.runs) == ("nsmc", "acc", 100, (1, 1))
    assert (found.means, found.difference) == ((100, 75), 25)
    assert (found.low, found.high) == (pytest.approx(25 - 1.96 * 4.33, abs=1.5), pytest.approx(25 + 1.96 * 4.33, abs=1.5))
    assert found.p == pytest.approx(2 / 10_001)
    ((swapped,), _) = compare(tmp_path, MODELS[::-1], ["nsmc"], "selected", TASKS)
    assert (swapped.difference, swapped.p) == (-25, found.p)


def test_no_difference(tmp_path):
    """Right on different halves: no difference on the whole, and a wide interval."""
    said(tmp_path, "kcbert-base", "0000" * 25)
    said(tmp_path, "tiny", "1111" * 25)
    ((found,), _) = compare(tmp_path, MODELS, [], "selected", TASKS)
    assert (found.difference, found.p) == (0, 1)
    assert found.low < -10 and found.high > 10


def test_each_view_has_its_own_checkpoint(tmp_path):
    for model, last, best in [("kcbert-base", "0101" * 25, "0101" * 25), ("tiny", "0111" * 25, "0101" * 25)]:
        cell = said(tmp_path, model, last, best=100.0)
        predictions(cell, {"document": "0101" * 25, "label": "0101" * 25, "prediction": best}, 10)
    assert compare(tmp_path, MODELS, [], "selected", TASKS)[0][0].difference == 25
    assert compare(tmp_path, MODELS, [], "best_on_test", TASKS)[0][0].difference == 0


def test_means_are_over_the_runs(tmp_path):
    said(tmp_path, "kcbert-base", "0101" * 25, seed=1), said(tmp_path, "kcbert-base", "0111" * 25, seed=2)
    said(tmp_path, "tiny", "1111" * 25, seed=3)
    ((found,), _) = compare(tmp_path, MODELS, [], "selected", TASKS)
    assert (found.means, found.runs) == ((87.5, 50), (2, 1))


def test_korquad_has_two_scores(tmp_path):
    for model, exact, f1 in [("kcbert-base", [100.0, 0.0], [100.0, 50.0]), ("tiny", [0.0, 0.0], [50.0, 50.0])]:
        cell = finished(tmp_path, model=model, task="korquad", score=75.0)
        results = cell.folder / "eval_results.json"
        results.write_text(
            results.read_text().replace(
                '"exact_match": 75.0, "f1": 75.0', f'"exact_match": {sum(exact) / 2}, "f1": {sum(f1) / 2}'
            )
        )
        predictions(cell, {"id": ["a", "b"], "prediction": ["x", model], "exact_match": exact, "f1": f1})
    found, _ = compare(tmp_path, MODELS, [], "selected", TASKS)
    assert [(each.score, each.means) for each in found] == [("exact_match", (50, 0)), ("f1", (75, 50))]


def test_naver_ner_counts_entities_by_sentence(tmp_path):
    columns = {"sentence": [0, 0, 1], "word": ["a", "b", "c"], "label": ["PER-B", "O", "LOC-B"]}
    for model, found, score in [("kcbert-base", ["PER-B", "O", "LOC-B"], 100.0), ("tiny", ["PER-B", "O", "O"], 200 / 3)]:
        predictions(finished(tmp_path, model=model, task="naver-ner", score=score), columns | {"prediction": found})
    ((found,), _) = compare(tmp_path, MODELS, [], "selected", TASKS)
    assert (found.score, found.rows, found.means) == ("f1_full", 2, (100, pytest.approx(200 / 3)))


def test_what_cannot_be_compared(tmp_path):
    said(tmp_path, "kcbert-base", "0101" * 25)
    with pytest.raises(ConfigError, match=r"'tiny' has no finished run; those that have: kcbert-base\."):
        compare(tmp_path, MODELS, [], "selected", TASKS)
    other = said(tmp_path, "tiny", "1010" * 25, label="1010" * 25)
    with pytest.raises(CheckpointError, match="not scored on the same rows"):
        compare(tmp_path, MODELS, [], "selected", TASKS)
    with pytest.raises(ConfigError, match="have not both finished runs of paws; they have of nsmc"):
        compare(tmp_path, MODELS, ["paws"], "selected", TASKS)
    path = other.folder / "test" / "predictions-20.tsv"
    path.write_text(path.read_text().replace("\t1\t1\n", "\t1\n"))
    with pytest.raises(CheckpointError, match=r"predictions-20\.tsv is damaged"):
        compare(tmp_path, MODELS, [], "selected", TASKS)
    path.unlink()
    with pytest.raises(CheckpointError, match=r"predictions-20\.tsv: No such file"):
        compare(tmp_path, MODELS, [], "selected", TASKS)


@pytest.mark.parametrize(("old", "new"), [("\tlabel\t", "\tgold\t"), ("prediction\n", "guess\n")])
def test_predictions_without_a_column(tmp_path, old, new):
    for model in MODELS:
        path = said(tmp_path, model, "0101").folder / "test" / "predictions-20.tsv"
        path.write_text(path.read_text().replace(old, new))
    with pytest.raises(CheckpointError, match=r"predictions-20\.tsv is damaged \(KeyError"):
        compare(tmp_path, MODELS, [], "selected", TASKS)


def test_a_prediction_that_is_no_number(tmp_path):
    for model in MODELS:
        cell = finished(tmp_path, model=model, task="korsts")
        predictions(cell, {"sentence1": "ab", "label": [1.0, 2.0], "prediction": ["0.5", "abc"]})
    with pytest.raises(CheckpointError, match=r"predictions-20\.tsv is damaged \(ValueError"):
        compare(tmp_path, MODELS, [], "selected", TASKS)


def test_predictions_of_another_run_are_noticed(tmp_path):
    """The results say 100, the predictions 75."""
    said(tmp_path, "kcbert-base", "0101" * 25)
    cell = said(tmp_path, "tiny", "0101" * 25)
    predictions(cell, {"index": range(100), "document": "0101" * 25, "label": "0101" * 25, "prediction": "0111" * 25})
    with pytest.raises(CheckpointError, match="do not give the acc of its results"):
        compare(tmp_path, MODELS, [], "selected", TASKS)


def test_no_task_in_common(tmp_path):
    finished(tmp_path, model="kcbert-base"), finished(tmp_path, model="tiny", task="paws")
    with pytest.raises(ConfigError, match="kcbert-base and tiny have finished runs of no task in common"):
        compare(tmp_path, MODELS, [], "selected", TASKS)


def test_what_is_shown(tmp_path):
    said(tmp_path, "kcbert-base", "0101" * 25)
    said(tmp_path, "tiny", "0111" * 25)
    text = show(*compare(tmp_path, MODELS, [], "selected", TASKS), MODELS, "selected")
    assert "| nsmc | acc | 100.00 | 75.00 | +25.00 | +17.00 to +34.00 | 0.0002 | 100 | 1 and 1 |" in text
    assert "one run" in text and "comparisons" not in text and "not made alike" not in text


def test_cautions(tmp_path):
    """Two runs each, of other lengths; Naver NER by another score than the table's."""
    for model, found, rest in [("kcbert-base", "0101" * 25, ()), ("tiny", "0111" * 25, ("--max_steps", "9"))]:
        for seed in (1, 2):
            said(tmp_path, model, found, seed, rest=rest)
            columns = {"sentence": [0], "label": ["PER-B"], "prediction": ["PER-B"]}
            predictions(finished(tmp_path, model=model, task="naver-ner", seed=seed, score=100.0, rest=rest), columns)
    first, second, third, fourth = compare(tmp_path, MODELS, [], "selected", TASKS)[1]
    assert first == "The runs were not made alike: nsmc, naver-ner: max_steps: -1 (kcbert-base seed 1 2); 9 (tiny seed 1 2)"
    assert second.startswith("With fewer than 5 runs of a model")
    assert third == "naver-ner: f1_full and not f1, as what f1 leaves out depends on the tokenizer."
    assert fourth.startswith("Of 2 comparisons")


def test_line_ends_in_a_text_are_part_of_it(tmp_path):
    for model in MODELS:
        predictions(said(tmp_path, model, "01", label="01"), {"document": ["a \r b", "\x85c"], "label": "01", "prediction": "01"})
    assert compare(tmp_path, MODELS, [], "selected", TASKS)[0][0].rows == 2
