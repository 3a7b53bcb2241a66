import json

import pytest

from src.common.errors import CheckpointError
from src.common.files import digest_folder
from src.runs.files import (
    checkpoints_in,
    digest_model,
    find_checkpoint,
    prediction_file,
    read_contents,
    read_settings,
    record_choices,
    stage_of,
)
from tests.src.run_folders import finished, interrupted, save, start


def test_stage_of_runs(settings):
    assert stage_of(settings().run_folder) == "absent"
    assert stage_of(start(settings).folder) == "unfinished"
    assert stage_of(interrupted(lambda **changes: settings(output_dir="two")).folder) == "unfinished"
    assert stage_of(finished(lambda **changes: settings(output_dir="three")).folder) == "finished"


@pytest.mark.parametrize(
    ("names", "stage"),
    [
        ([], "absent"),
        ([".settings.json.partial"], "absent"),
        (["thesis.txt"], "foreign"),
        (["cost.json", "eval_results.json"], "foreign"),
        (["settings.json", "cost.json"], "unfinished"),
        (["settings.json", "eval_results.json"], "unfinished"),
        (["settings.json", "cost.json", "eval_results.json"], "finished"),
    ],
)
def test_stage_is_judged_by_the_files(tmp_path, names, stage):
    for name in names:
        (tmp_path / name).touch()
    assert stage_of(tmp_path) == stage


def test_contents_of_an_interrupted_run(settings):
    contents = read_contents(interrupted(settings).folder)
    assert (contents.stage, contents.checkpoints, contents.has_state) == ("unfinished", [2], True)
    assert contents.record["seed"] == 42


def test_only_folders_named_like_checkpoints_are_checkpoints(tmp_path):
    for name in ("checkpoint-10", "checkpoint-9", ".checkpoint-3.partial", "checkpoint-x"):
        (tmp_path / name).mkdir()
    (tmp_path / "checkpoint-1").touch()
    assert checkpoints_in(tmp_path) == [9, 10]
    assert checkpoints_in(tmp_path / "nowhere") == []


def test_prediction_files_have_the_step_in_their_names(tmp_path):
    assert prediction_file(tmp_path, 7) == tmp_path / "test" / "predictions-7.tsv"
    assert prediction_file(tmp_path, 7, "dev", "nbest.json") == tmp_path / "dev" / "nbest-7.json"


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


def test_a_setting_that_scoring_has_chosen(settings):
    run = start(settings, threshold="dev", dev_ratio=0.1)
    save(run, 1, dev=0.5)
    checkpoint = run.checkpoint_folder(1)
    (checkpoint / "config.json").write_text("{}")
    assert read_settings(checkpoint).threshold == "dev"
    record_choices(checkpoint, {"micro_f1": 0.5, "threshold": 0.3, "loss": 0.1})
    assert read_settings(checkpoint).model_dump() == settings(threshold=0.3, dev_ratio=0.1).model_dump()
    before = (checkpoint / "settings.json").read_bytes()
    record_choices(checkpoint, {"acc": 0.5, "loss": 0.1})
    record_choices(run.checkpoint_folder(2), {"threshold": 0.3})  # scored without being saved
    assert (checkpoint / "settings.json").read_bytes() == before
    assert checkpoints_in(run.folder) == [1]


@pytest.mark.parametrize(
    ("results", "step"), [(None, 2), ({"selected": None}, 2), ({"selected": {"step": 1}}, 1)], ids=["none", "unscored", "scored"]
)
def test_names_a_checkpoint_if_given_a_run(settings, results, step):
    run = start(settings, output_dir="a b")
    save(run, 1)
    save(run, 2)
    if results:
        (run.folder / "eval_results.json").write_text(json.dumps(results))
    with pytest.raises(CheckpointError, match=rf"is the folder of a run\. .* '{run.folder}/checkpoint-{step}'$"):
        read_settings(run.folder)


def test_finds_the_selected_checkpoint_of_a_run(settings, caplog):
    caplog.set_level("INFO")
    run = start(settings)
    save(run, 1)
    save(run, 2)
    assert find_checkpoint(run.folder) == run.folder  # nothing is selected yet
    for step in (1, 2, 3):
        caplog.clear()
        (run.folder / "eval_results.json").write_text(json.dumps({"selected": {"step": step}}))
        selected = run.folder / f"checkpoint-{step}"
        assert find_checkpoint(run.folder) == (selected if step < 3 else run.folder)  # 3 has been removed by somebody
        assert (selected.name in caplog.text) is (step < 3)
    assert find_checkpoint(run.checkpoint_folder(1)) == run.checkpoint_folder(1)


def test_rejects_a_folder_that_does_not_exist(tmp_path):
    with pytest.raises(CheckpointError, match="nowhere is not a checkpoint"):
        read_settings(tmp_path / "nowhere")


def test_a_checkpoint_is_the_same_model_when_its_card_has_more_scores(tmp_path):
    for name in ("model.safetensors", "README.md"):
        (tmp_path / name).write_text(name)
    of_any_folder = digest_model(tmp_path)
    assert of_any_folder == digest_folder(tmp_path)
    (tmp_path / "settings.json").write_text("{}")
    of_checkpoint = digest_model(tmp_path)
    (tmp_path / "README.md").write_text("scores")
    assert digest_model(tmp_path) == of_checkpoint != digest_folder(tmp_path)
    (tmp_path / "model.safetensors").write_text("other")
    assert digest_model(tmp_path) != of_checkpoint
