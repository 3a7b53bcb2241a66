import json

import pytest

from processor.definition import TASKS
from src.report.read_runs import read_grid
from src.report.record import shorten_digest
from tests.src.report.helpers import finished


def test_record_of_a_finished_run(tmp_path):
    cell = finished(tmp_path, score=90.0, best=91.0, rest=("--max_steps", "20"))
    (cell.folder / "checkpoint-20").mkdir()
    (cell.folder / "checkpoint-20" / "model.safetensors").write_bytes(b"x" * 1000)
    (record,), others = read_grid(tmp_path, TASKS)
    assert not others
    assert (record.model, record.task, record.seed, record.folder) == ("koelectra-base-v3", "nsmc", 1, cell.folder)
    assert (record.choice("selected").test["acc"], record.choice("best_on_test").test["acc"]) == (0.9, pytest.approx(0.91))
    assert record.overrides == {"max_steps": 20}
    assert record.settings["max_steps"] == 20 and "log_every" not in record.settings and "seed" not in record.settings
    assert record.seconds == 60 + 30 + 10
    assert record.weight_bytes == 1000 < record.bytes_on_disk


def test_shared_settings_do_not_come_from_the_model_file(tmp_path):
    """koelectra-small-v3.json sets a batch size for paws, config/tasks/paws.json the epochs."""
    finished(tmp_path, model="koelectra-small-v3", task="paws", rest=("--learning_rate", "1e-4"))
    (record,), _ = read_grid(tmp_path, TASKS)
    assert record.settings["train_batch_size"] == 64 and "train_batch_size" not in record.shared_settings
    assert record.shared_settings["learning_rate"] == 1e-4 and "num_train_epochs" in record.shared_settings
    assert record.overrides == {"learning_rate": 1e-4}


def test_the_file_of_a_task_may_be_in_any_folder(tmp_path):
    path = finished(tmp_path, task="paws").folder / "settings.json"
    record = json.loads(path.read_text())
    record["layers"]["num_train_epochs"] = "/elsewhere/paws.json"
    path.write_text(json.dumps(record))
    assert "num_train_epochs" in read_grid(tmp_path, TASKS)[0][0].shared_settings


@pytest.mark.parametrize(("digest", "expected"), [("a" * 64, "a" * 12), ("b" * 40 + "+", "b" * 12 + "+"), (None, "unknown")])
def test_shorten_digest(digest, expected):
    assert shorten_digest(digest) == expected
