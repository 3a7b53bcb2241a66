import json

import pytest

from src.checkpoint_settings import read_settings
from src.errors import CheckpointError
from tests.src.runs import save, start


def test_reads_the_settings_of_a_checkpoint(settings):
    run = start(settings, learning_rate=0.5)
    save(run, 1, dev=0.5, test=0.5)
    checkpoint = run.checkpoint_folder(1)
    with pytest.raises(CheckpointError, match=r"checkpoint-1 is not a checkpoint: .*config\.json"):
        read_settings(checkpoint)
    (checkpoint / "config.json").write_text("{}")
    assert read_settings(checkpoint).model_dump() == settings(learning_rate=0.5).model_dump()
    record = json.loads((checkpoint / "settings.json").read_text())
    (checkpoint / "settings.json").write_text(json.dumps(record | {"settings": record["settings"] | {"max_seq_len": "long"}}))
    with pytest.raises(CheckpointError, match=r"settings\.json .*invalid settings:\n  - max_seq_len: "):
        read_settings(checkpoint)


@pytest.mark.parametrize(
    ("results", "step"), [(None, 2), ({"selected": None}, 2), ({"selected": {"step": 1}}, 1)], ids=["none", "unscored", "scored"]
)
def test_names_a_checkpoint_if_given_a_run(settings, results, step):
    run = start(settings)
    save(run, 1)
    save(run, 2)
    if results:
        (run.folder / "eval_results.json").write_text(json.dumps(results))
    with pytest.raises(CheckpointError, match=rf"is the folder of a run\. .*/checkpoint-{step}$"):
        read_settings(run.folder)


def test_rejects_a_folder_that_does_not_exist(tmp_path):
    with pytest.raises(CheckpointError, match="nowhere is not a checkpoint"):
        read_settings(tmp_path / "nowhere")
