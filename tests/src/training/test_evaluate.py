import math
from pathlib import Path

import numpy as np
import pytest
import torch

from processor.definition import TASKS
from src.common.errors import DataError, NumbersError, ScoringError
from src.data.task import DataFile
from src.runs.status import find_run
from src.training.evaluate import predict
from src.training.scorer import Scorer
from tests.src.helpers import CPU_MEMORY, GPU_MEMORY, TEST, RandomSplit, limited_model, small_model, task_model


def test_returns_logits_in_order_whatever_the_batches():
    split, model = RandomSplit(23), small_model(dropout=0.5)
    model.train()
    one_by_one = np.concatenate([predict_row(model, split, row) for row in range(23)])
    for batch_size in (1, 4, 23, 100):
        logits, _ = predict(task_model(model), split.features, batch_size)
        np.testing.assert_allclose(logits, one_by_one, atol=1e-5)
        assert logits.dtype == np.float32
    assert model.training  # as it was before


def predict_row(model, split, row):
    batch = task_model(model).collate(split.features, np.array([row]))
    model.eval()
    with torch.no_grad():
        logits = model(**batch.inputs).logits.numpy()
    model.train()
    return logits


@pytest.mark.parametrize("error", [GPU_MEMORY, CPU_MEMORY])
def test_splits_a_batch_that_does_not_fit_into_memory(error):
    split, model = RandomSplit(23), small_model()
    expected, loss = predict(task_model(model), split.features, 200)
    model, sizes = limited_model(4, error)
    logits, same_loss = predict(task_model(model), split.features, 200)
    np.testing.assert_allclose(logits, expected, atol=1e-6)
    assert same_loss == pytest.approx(loss)
    assert max(sizes) > 4


def test_the_loss_is_the_mean_over_rows():
    split, model = RandomSplit(23), small_model()
    logits, loss = predict(task_model(model), split.features, 4)
    labels = torch.from_numpy(split.features.tensors["labels"])
    assert loss == pytest.approx(torch.nn.functional.cross_entropy(torch.from_numpy(logits), labels).item(), abs=1e-6)


@pytest.fixture
def run(settings):
    run = find_run(settings(), TASKS["nsmc"], {})
    run.folder.mkdir(parents=True)
    return run


def test_scores_a_step_once_and_writes_files(run):
    test = RandomSplit(10, "test")
    scorer = Scorer(run, {"test": test}, 4)
    scorer.score(task_model(small_model()), 5, ["dev", "test"])  # this run has no dev split
    first = (run.folder / "test" / "test-5.txt").read_text()
    assert first.splitlines() == [f"  {name} = {value}" for name, value in sorted(run.history.scores[5]["test"].items())]
    assert len((run.folder / "test" / "predictions-5.tsv").read_text().splitlines()) == 10
    scorer.score(task_model(small_model(seed=1)), 5, ["test"])  # not scored again
    assert (run.folder / "test" / "test-5.txt").read_text() == first
    assert list(run.history.scores) == [5]


@pytest.mark.parametrize(
    ("error", "exit_code", "reason"),
    [
        (ZeroDivisionError("by zero " * 100), 1, "ZeroDivisionError: by zero"),
        (DataError("test.tsv has changed"), 1, "test.tsv has changed"),
        (CPU_MEMORY, 1, "memory is full.*DefaultCPUAllocator"),
    ],
)
def test_whatever_scoring_raises_becomes_one_error(run, monkeypatch, error, exit_code, reason):
    def fail(*arguments):
        raise error

    monkeypatch.setattr(RandomSplit, "score", fail)
    with pytest.raises(ScoringError, match=rf"step 5 .* on test: {reason}.*{run.folder}") as raised:
        Scorer(run, {"test": RandomSplit(10, "test")}, 4).score(task_model(small_model()), 5, ["test"])
    assert raised.value.exit_code == exit_code
    assert len(str(raised.value)) < 700
    assert run.history.scores == {}


@pytest.mark.parametrize("scores", [{}, {"acc": math.nan}])
def test_a_metric_must_return_the_headline(run, monkeypatch, scores):
    monkeypatch.setattr(RandomSplit, "score", lambda *arguments: scores)
    with pytest.raises(ScoringError, match="acc = nan"):
        Scorer(run, {"test": RandomSplit(10, "test")}, 4).score(task_model(small_model()), 5, ["test"])


def test_decodes_test_with_the_scores_on_dev(settings, monkeypatch):
    """The threshold in the scores on dev: a choice that was made there."""
    run = find_run(settings(dev_ratio=0.1), TASKS["nsmc"], {"train": DataFile(Path("f"), "1" * 64, "other")} | TEST)
    run.folder.mkdir(parents=True)
    given = []
    monkeypatch.setattr(RandomSplit, "decode", lambda split, outputs, dev: given.append((split.name, dev)) or outputs)
    monkeypatch.setattr(RandomSplit, "score", lambda split, outputs: {"acc": 0.5, "threshold": 0.25})
    scorer = Scorer(run, {name: RandomSplit(10, name) for name in ("dev", "test")}, 4)
    scorer.score(task_model(small_model()), 5, ["dev", "test"])
    assert given == [("dev", {}), ("test", run.history.scores[5]["dev"])]
    assert given[1][1]["threshold"] == 0.25


def test_cautions_are_logged_and_kept(run, monkeypatch, caplog):
    monkeypatch.setattr(RandomSplit, "cautions", lambda *arguments: ["10 rows", "one class"])
    Scorer(run, {"test": RandomSplit(10, "test")}, 4).score(task_model(small_model()), 5, ["test"])
    assert run.history.cautions == {5: {"test": ["10 rows", "one class"]}}
    assert [record.getMessage() for record in caplog.records] == ["step 5, test: caution: 10 rows; one class"]


def test_nan_logits_stop_the_run(run):
    model = small_model()
    torch.nn.init.constant_(model.classifier.out_proj.bias, float("nan"))
    with pytest.raises(NumbersError, match="step 5: the loss on test"):
        Scorer(run, {"test": RandomSplit(10, "test")}, 4).score(task_model(model), 5, ["test"])
    assert run.history.scores == {}
