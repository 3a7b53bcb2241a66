from dataclasses import replace

import pytest

from processor.definition import TASKS
from src.common.errors import CheckpointError, ConfigError
from src.metrics.metrics import METRICS
from src.report.compare import compare, format_comparisons
from tests.src.report.helpers import finished, predictions

MODELS = ("kcbert-base", "tiny")


def predicted(tmp_path, model, prediction, seed=1, label=None, step=20, **more):
    """Write a run on nsmc with these predictions and labels, one character each."""
    label = label or ("0101" * 25)[: len(prediction)]
    score = 100 * sum(gold == guess for gold, guess in zip(label, prediction, strict=True)) / len(label)
    cell = finished(tmp_path, model=model, seed=seed, score=score, **more)
    predictions(cell, {"index": range(len(label)), "document": label, "label": label, "prediction": prediction}, step)
    return cell


def test_one_model_is_better(tmp_path):
    """Right on 100 of 100 rows and on 75: a difference of 25 with the standard deviation sqrt(0.25 * 0.75 / 100) = 4.33."""
    predicted(tmp_path, "kcbert-base", "0101" * 25)
    predicted(tmp_path, "tiny", "0111" * 25)
    ((comparison,), _) = compare([tmp_path], MODELS, [], "selected", TASKS)
    assert (comparison.task, comparison.score, comparison.rows, comparison.runs) == ("nsmc", "acc", 100, (1, 1))
    assert (comparison.means, comparison.difference) == ((100, 75), 25)
    assert (comparison.uncertainty.low, comparison.uncertainty.high) == (
        pytest.approx(25 - 1.96 * 4.33, abs=1.5),
        pytest.approx(25 + 1.96 * 4.33, abs=1.5),
    )
    assert comparison.uncertainty.p == pytest.approx(2 / 10_001)
    ((swapped,), _) = compare([tmp_path], MODELS[::-1], ["nsmc"], "selected", TASKS)
    assert (swapped.difference, swapped.uncertainty.p) == (-25, comparison.uncertainty.p)


def test_no_difference(tmp_path):
    """Right on different halves of the rows: no mean difference, and a wide interval."""
    predicted(tmp_path, "kcbert-base", "0000" * 25)
    predicted(tmp_path, "tiny", "1111" * 25)
    ((comparison,), _) = compare([tmp_path], MODELS, [], "selected", TASKS)
    assert (comparison.difference, comparison.uncertainty.p) == (0, 1)
    assert comparison.uncertainty.low < -10 and comparison.uncertainty.high > 10


def test_each_view_compares_its_own_checkpoint(tmp_path):
    for model, last, best in [("kcbert-base", "0101" * 25, "0101" * 25), ("tiny", "0111" * 25, "0101" * 25)]:
        cell = predicted(tmp_path, model, last, best=100.0)
        predictions(cell, {"document": "0101" * 25, "label": "0101" * 25, "prediction": best}, 10)
    assert compare([tmp_path], MODELS, [], "selected", TASKS)[0][0].difference == 25
    assert compare([tmp_path], MODELS, [], "best_on_test", TASKS)[0][0].difference == 0


def test_means_are_over_the_runs(tmp_path):
    predicted(tmp_path, "kcbert-base", "0101" * 25, seed=1), predicted(tmp_path, "kcbert-base", "0111" * 25, seed=2)
    predicted(tmp_path, "tiny", "1111" * 25, seed=3)
    ((comparison,), _) = compare([tmp_path], MODELS, [], "selected", TASKS)
    assert (comparison.means, comparison.runs) == ((87.5, 50), (2, 1))


def test_compares_both_scores_of_korquad(tmp_path):
    for model, exact, f1 in [("kcbert-base", [100.0, 0.0], [100.0, 50.0]), ("tiny", [0.0, 0.0], [50.0, 50.0])]:
        cell = finished(tmp_path, model=model, task="korquad", score=75.0)
        results = cell.folder / "eval_results.json"
        results.write_text(
            results.read_text().replace(
                '"exact_match": 75.0, "f1": 75.0', f'"exact_match": {sum(exact) / 2}, "f1": {sum(f1) / 2}'
            )
        )
        predictions(cell, {"id": ["a", "b"], "prediction": ["x", model], "exact_match": exact, "f1": f1})
    comparisons, _ = compare([tmp_path], MODELS, [], "selected", TASKS)
    assert [(comparison.score, comparison.means) for comparison in comparisons] == [("exact_match", (50, 0)), ("f1", (75, 50))]


def test_compares_entities_by_sentence(tmp_path):
    columns = {"sentence": [0, 0, 1], "word": ["a", "b", "c"], "label": ["PER-B", "O", "LOC-B"]}
    for model, tags, score in [("kcbert-base", ["PER-B", "O", "LOC-B"], 100.0), ("tiny", ["PER-B", "O", "O"], 200 / 3)]:
        predictions(finished(tmp_path, model=model, task="naver-ner", score=score), columns | {"prediction": tags})
    ((comparison,), _) = compare([tmp_path], MODELS, [], "selected", TASKS)
    assert (comparison.score, comparison.rows, comparison.means) == ("f1_full", 2, (100, pytest.approx(200 / 3)))


def test_only_tagging_has_sentences_of_several_lines(tmp_path):
    """A text column may be called `sentence` and hold a text twice."""
    for model in MODELS:
        cell = finished(tmp_path, model=model, score=75.0)
        predictions(cell, {"index": range(4), "sentence": "aabb", "label": "0101", "prediction": "0100"})
    ((comparison,), _) = compare([tmp_path], MODELS, [], "selected", TASKS)
    assert (comparison.rows, comparison.means) == (4, (75, 75))


def test_scores_that_differ_in_their_last_digits_are_not_tied(tmp_path):
    """The ranks of 1e-9, 2e-9, 3e-9 are those of the labels; with six decimals they would be one rank."""
    for model in MODELS:
        cell = finished(tmp_path, model=model, task="korsts", score=100.0)
        columns = {"index": range(3), "label": [0.0, 4e-7, 8e-7], "prediction": ["1e-09", "2e-09", "3e-09"]}
        predictions(cell, columns)
    ((comparison,), _) = compare([tmp_path], MODELS, [], "selected", TASKS)
    assert (comparison.score, comparison.means) == ("spearmanr", (pytest.approx(100), pytest.approx(100)))


def test_rejects_runs_that_cannot_be_compared(tmp_path):
    predicted(tmp_path, "kcbert-base", "0101" * 25)
    with pytest.raises(ConfigError, match=r"'tiny' has no finished run.*kcbert-base\."):
        compare([tmp_path], MODELS, [], "selected", TASKS)
    other = predicted(tmp_path, "tiny", "1010" * 25, label="1010" * 25)
    with pytest.raises(CheckpointError, match=r"tiny/nsmc/seed-1 and .*kcbert-base/nsmc/seed-1 .* same rows"):
        compare([tmp_path], MODELS, [], "selected", TASKS)
    with pytest.raises(ConfigError, match=r"kcbert-base and tiny .*paws.*nsmc"):
        compare([tmp_path], MODELS, ["paws"], "selected", TASKS)
    path = other.folder / "test" / "predictions-20.tsv"
    path.write_text(path.read_text().replace("\t1\t1\n", "\t1\n"))
    with pytest.raises(CheckpointError, match=r"predictions-20\.tsv is damaged"):
        compare([tmp_path], MODELS, [], "selected", TASKS)
    path.unlink()
    with pytest.raises(CheckpointError, match=r"predictions-20\.tsv: No such file"):
        compare([tmp_path], MODELS, [], "selected", TASKS)


@pytest.mark.parametrize(("old", "new"), [("\tlabel\t", "\tgold\t"), ("prediction\n", "guess\n")])
def test_rejects_predictions_without_a_column(tmp_path, old, new):
    for model in MODELS:
        path = predicted(tmp_path, model, "0101").folder / "test" / "predictions-20.tsv"
        path.write_text(path.read_text().replace(old, new))
    with pytest.raises(CheckpointError, match=r"predictions-20\.tsv is damaged \(KeyError"):
        compare([tmp_path], MODELS, [], "selected", TASKS)


def test_rejects_a_prediction_that_is_not_a_number(tmp_path):
    for model in MODELS:
        cell = finished(tmp_path, model=model, task="korsts")
        predictions(cell, {"sentence1": "ab", "label": [1.0, 2.0], "prediction": ["0.5", "abc"]})
    with pytest.raises(CheckpointError, match=r"predictions-20\.tsv is damaged \(ValueError"):
        compare([tmp_path], MODELS, [], "selected", TASKS)


def test_rejects_predictions_of_another_run(tmp_path):
    """The accuracy is 100 in the results and 75 in the predictions."""
    predicted(tmp_path, "kcbert-base", "0101" * 25)
    cell = predicted(tmp_path, "tiny", "0101" * 25)
    predictions(cell, {"index": range(100), "document": "0101" * 25, "label": "0101" * 25, "prediction": "0111" * 25})
    with pytest.raises(CheckpointError, match=r"tiny/nsmc/seed-1: .* acc "):
        compare([tmp_path], MODELS, [], "selected", TASKS)


def test_rejects_models_without_a_common_task(tmp_path):
    finished(tmp_path, model="kcbert-base"), finished(tmp_path, model="tiny", task="paws")
    with pytest.raises(ConfigError, match="kcbert-base and tiny "):
        compare([tmp_path], MODELS, [], "selected", TASKS)


def test_format_comparisons(tmp_path):
    predicted(tmp_path, "kcbert-base", "0101" * 25)
    predicted(tmp_path, "tiny", "0111" * 25)
    text = format_comparisons(*compare([tmp_path], MODELS, [], "selected", TASKS), MODELS, "selected")
    assert "| p | P(A > B) | smallest difference | rows |" in text
    *_, smallest, rows, runs = (cells := text.splitlines()[2].strip("| ").split(" | "))
    assert cells[:8] == ["nsmc", "acc", "100.00", "75.00", "+25.00", "+17.00 to +34.00", "0.0002", "1.00"]
    assert (rows, runs) == ("100", "1 and 1")
    assert float(smallest) == pytest.approx(2.80 * 4.33, rel=0.03)
    assert text.count("\n- ") == 1 and "\n- With one run" in text


def test_seeds_and_several_tasks(tmp_path):
    """Three runs are right on 70, 72 and 74 of 100 rows, those of the other model on 60, 62 and 64, always the first ones."""
    for task in ("nsmc", "paws"):
        for model, right in [("kcbert-base", 70), ("tiny", 60)]:
            for seed in (1, 2, 3):
                count = right + 2 * seed - 2
                cell = finished(tmp_path, model=model, task=task, seed=seed, score=float(count))
                columns = {"index": range(100), "label": "1" * 100, "prediction": "1" * count + "0" * (100 - count)}
                predictions(cell, columns)
    comparisons, cautions = compare([tmp_path], MODELS, [], "selected", TASKS)
    found = comparisons[0].uncertainty
    # Seeds alone: s = 2, so that the variance is 4 / 3 + 4 / 3.
    assert (comparisons[0].means, comparisons[0].runs) == ((72, 62), (3, 3))
    assert found.low < 10 - 1.96 * (8 / 3) ** 0.5 and (found.low + found.high) / 2 == pytest.approx(10)
    assert 0.9 < found.better < 1 and 2.8 * (8 / 3) ** 0.5 < found.smallest < 15
    assert [item.uncertainty.p for item in comparisons] == [found.p] * 2
    assert [item.adjusted_p for item in comparisons] == [pytest.approx(2 * found.p)] * 2
    heading, _, first, *_ = format_comparisons(comparisons, cautions, MODELS, "selected").splitlines()
    cells = dict(zip(heading.split(" | "), first.split(" | "), strict=True))
    assert (cells["p"], cells["p (Holm)"]) == (f"{found.p:.4f}", f"{2 * found.p:.4f}")


def test_equal_models_have_no_smallest_difference(tmp_path):
    for model in MODELS:
        predicted(tmp_path, model, "0111")
    text = format_comparisons(*compare([tmp_path], MODELS, [], "selected", TASKS), MODELS, "selected")
    assert "| +0.00 | +0.00 to +0.00 | 1.0000 | 0.50 | - | 4 | 1 and 1 |" in text


def test_cautions(tmp_path):
    """Two runs per model, trained for different numbers of steps; Naver NER is compared by another score than in the table."""
    for model, prediction, rest in [("kcbert-base", "0101" * 25, ()), ("tiny", "0111" * 25, ("--max_steps", "9"))]:
        for seed in (1, 2):
            predicted(tmp_path, model, prediction, seed, rest=rest)
            columns = {"sentence": [0], "label": ["PER-B"], "prediction": ["PER-B"]}
            predictions(finished(tmp_path, model=model, task="naver-ner", seed=seed, score=100.0, rest=rest), columns)
    first, second, third, fourth = compare([tmp_path], MODELS, [], "selected", TASKS)[1]
    assert first.endswith(": nsmc, naver-ner: max_steps: -1 (kcbert-base seed 1 2); 9 (tiny seed 1 2)")
    assert second.startswith("With fewer than 5 runs")
    assert third.startswith("naver-ner: compared by f1_full: f1 ")
    assert fourth.startswith("Of 2 comparisons")


@pytest.fixture
def without_weighted_form(monkeypatch):
    """Give nsmc a metric that cannot be resampled."""
    monkeypatch.setitem(METRICS, "plain", replace(METRICS["accuracy"], weighted={}))
    return {**TASKS, "nsmc": TASKS["nsmc"].model_copy(update={"metric": "plain"})}


def test_leaves_out_a_task_whose_metric_has_no_weighted_form(tmp_path, without_weighted_form):
    for model in MODELS:
        predicted(tmp_path, model, "0101")
        columns = {"sentence1": "ab", "label": [0, 1], "prediction": [0, 1]}
        predictions(finished(tmp_path, model=model, task="paws", score=100.0), columns)
    comparisons, cautions = compare([tmp_path], MODELS, [], "selected", without_weighted_form)
    assert [comparison.task for comparison in comparisons] == ["paws"]
    assert cautions[0].startswith("nsmc ") and "plain" in cautions[0]
    with pytest.raises(ConfigError, match=r"nsmc .* plain .*src/metrics/metrics\.py"):
        compare([tmp_path], MODELS, ["nsmc", "paws"], "selected", without_weighted_form)


def test_rejects_models_whose_only_common_task_cannot_be_compared(tmp_path, without_weighted_form):
    for model in MODELS:
        predicted(tmp_path, model, "0101")
    with pytest.raises(ConfigError, match=r"nsmc .* plain"):
        compare([tmp_path], MODELS, [], "selected", without_weighted_form)


def test_other_line_ends_are_part_of_a_text(tmp_path):
    for model in MODELS:
        predictions(
            predicted(tmp_path, model, "01", label="01"), {"document": ["a \r b", "\x85c"], "label": "01", "prediction": "01"}
        )
    assert compare([tmp_path], MODELS, [], "selected", TASKS)[0][0].rows == 2
