import pytest

from processor import TASKS
from src.grid.read_runs import read_grid
from src.grid.record import short
from tests.src.grid.helpers import finished


def test_a_finished_run(tmp_path):
    cell = finished(tmp_path, score=90.0, best=91.0, rest=("--max_steps", "20"))
    (cell.folder / "checkpoint-20").mkdir()
    (cell.folder / "checkpoint-20" / "model.safetensors").write_bytes(b"x" * 1000)
    (record,), left = read_grid(tmp_path, TASKS)
    assert not left
    assert (record.model, record.task, record.seed, record.folder) == ("koelectra-base-v3", "nsmc", 1, cell.folder)
    assert (record.choice("selected").test["acc"], record.choice("best_on_test").test["acc"]) == (0.9, pytest.approx(0.91))
    assert record.overrides == {"max_steps": 20}
    assert record.settings["max_steps"] == 20 and "log_every" not in record.settings and "seed" not in record.settings
    assert record.seconds == 60 + 30 + 10
    assert record.weight_bytes == 1000 < record.bytes_on_disk


def test_what_does_not_come_from_the_models_file(tmp_path):
    """koelectra-small-v3.json has a batch size of its own for paws, config/tasks/paws.json its epochs."""
    finished(tmp_path, model="koelectra-small-v3", task="paws", rest=("--learning_rate", "1e-4"))
    (record,), _ = read_grid(tmp_path, TASKS)
    assert record.settings["train_batch_size"] == 64 and "train_batch_size" not in record.not_the_models
    assert record.not_the_models["learning_rate"] == 1e-4 and "num_train_epochs" in record.not_the_models
    assert record.overrides == {"learning_rate": 1e-4}


@pytest.mark.parametrize(("digest", "expected"), [("a" * 64, "a" * 12), ("b" * 40 + "+", "b" * 12 + "+"), (None, "unknown")])
def test_digests_are_shortened(digest, expected):
    assert short(digest) == expected
