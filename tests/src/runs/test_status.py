"""How a run uses a folder that an earlier run has left: resume, replace, score, or nothing to do."""

import dataclasses
import json
import re
import shutil

import pytest

from processor.definition import TASKS
from src.common.errors import CheckpointError, ConfigError
from src.runs.status import find_run
from tests.conftest import SAMPLE
from tests.src.run_folders import (
    DEFINITION,
    FILES,
    NO_DEV,
    data_file,
    end_process,
    finish,
    finished,
    interrupted,
    save,
    start,
    visible,
)


def find(settings, files=FILES, **changes):
    return find_run(settings(**changes), TASKS["nsmc"], files)


def test_finds_a_finished_run_again(settings):
    first = finished(settings)
    run = find(settings)
    assert (run.state, run.complete) == ("trained", True)
    assert run.history.scores == first.history.scores
    assert run.report() == first.report()


def test_settings_that_affect_no_score_find_the_same_run(settings):
    finished(settings)
    assert find(settings, log_every=7, save_total_limit=5).complete


@pytest.mark.parametrize(
    ("changes", "files", "reason"),
    [
        ({"learning_rate": 0.5}, FILES, "learning_rate 0.001, now 0.5"),
        ({}, {**FILES, "train": data_file("2" * 64)}, "another train file"),
        ({"resume": False}, FILES, "--resume false"),
        ({"overwrite_output_dir": True}, FILES, "earlier run"),
        ({"num_train_epochs": 3}, FILES, "num_train_epochs 10.0, now 3.0"),
    ],
)
def test_replaces_a_finished_run(settings, changes, files, reason):
    finished(settings)
    run = find(settings, files, **changes)
    assert reason in run.reason
    assert (run.state, run.complete) == ("replace", False)
    assert (run.folder / "checkpoint-1").is_dir()  # find_run changes nothing


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"resume": False}, "--resume false"),
        ({"seed": 7}, "seed 42, now 7"),
        ({"overwrite_output_dir": True}, "earlier run"),
        # A finished run would only be scored again for this; an unfinished one would end with scores of both kinds.
        ({"answer_text": "legacy"}, "answer_text 'offsets', now 'legacy'"),
    ],
)
def test_replaces_an_unfinished_run(settings, changes, reason):
    interrupted(settings)
    run = find(settings, **changes)
    assert run.state == "replace"
    assert reason in run.reason
    run.start({"definition": DEFINITION}, {})
    assert not run.state_file.exists()
    assert (run.folder.with_name("run.1") / "checkpoint-2").exists() != ("overwrite_output_dir" in changes)


def test_moves_checkpoints_without_a_saved_state_aside(settings):
    first = start(settings)
    save(first, 1, dev=0.5, test=0.5)
    first.finish(0.0, 1.0)  # scored, but training was not finished
    end_process(first)
    run = find(settings)
    assert (run.state, "no state to resume from" in run.reason) == ("replace", True)
    run.start({"definition": DEFINITION}, {})
    assert visible(first.folder.parent) == ["run", "run.1"]
    assert (first.folder.parent / "run.1" / "checkpoint-1").is_dir()


def test_leaves_a_folder_without_a_run_alone(settings, tmp_path):
    foreign = tmp_path / "ckpt" / "mine"
    foreign.mkdir(parents=True)
    (foreign / "thesis.txt").write_text("precious")
    for changes in ({}, {"overwrite_output_dir": True}, {"resume": False}):
        with pytest.raises(CheckpointError, match=r"mine holds files, but no run .*settings\.json"):
            find(settings, output_dir="mine", **changes)
    assert (foreign / "thesis.txt").read_text() == "precious"


@pytest.mark.parametrize("changes", [{"overwrite_output_dir": True}, {"resume": False}, {"learning_rate": 0.5}])
def test_never_takes_away_what_the_new_run_reads(settings, changes, tmp_path):
    """The model, or a data file, by any spelling of its path."""
    run = finished(settings)
    (tmp_path / "link").symlink_to(run.folder)
    for path in (run.folder / "checkpoint-1", tmp_path / "link" / "checkpoint-1"):
        with pytest.raises(CheckpointError, match=rf"{path}, which this one reads"):
            find(settings, model_name_or_path=str(path), **changes)
    (run.folder / "train.tsv").write_text("data")
    inside = dataclasses.replace(FILES["train"], path=run.folder / "train.tsv")
    with pytest.raises(CheckpointError, match=r"train\.tsv, which this one reads"):
        find(settings, {**FILES, "train": inside}, **changes)
    assert find(settings, model_name_or_path=str(run.folder / "checkpoint-1"), output_dir="run-2").state == "new"


def test_a_file_cannot_ask_to_overwrite(settings):
    """The original's KorQuAD files set overwrite_output_dir, and nobody expects them to remove anything."""
    finished(settings)
    chosen = settings(overwrite_output_dir=True)
    chosen._layers["overwrite_output_dir"] = "config/tasks/korquad.json"
    assert find_run(chosen, TASKS["nsmc"], FILES).complete


def test_other_files_in_the_model_folder_are_another_run(settings, tmp_path):
    model = shutil.copytree(SAMPLE / "tiny-electra", tmp_path / "model")
    run = start(settings, model_name_or_path=model)
    save(run, 1, dev=0.5, test=0.5)
    finish(run)
    assert find(settings, model_name_or_path=model).complete
    (model / "vocab.txt").write_text("another")
    assert f"other files in {model}" in find(settings, model_name_or_path=model).reason


def test_scores_checkpoints_without_training(settings):
    with pytest.raises(CheckpointError, match="holds no checkpoint to score"):
        find(settings, do_train=False)
    run = start(settings, do_eval=False, learning_rate=0.5)
    save(run, 1, dev=0.5)
    assert find(settings, NO_DEV, do_train=False).state == "score"
    finish(run)
    run = find(settings, NO_DEV, do_train=False, learning_rate=0.1, no_cuda=True)  # settings of training alone may differ
    assert (run.state, run.complete) == ("trained", False)
    assert run.unscored() == [(1, ["test"])]
    assert run.data["train"]["rows"] == 3
    with pytest.raises(CheckpointError, match=r"max_seq_len \d+, now 64"):
        find(settings, do_train=False, max_seq_len=64)
    with pytest.raises(CheckpointError, match="another test file"):
        find(settings, {"test": data_file("2" * 64)}, do_train=False)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"headline": "f1"}, r"headline of the task 'acc', now 'f1'"),
        ({"labels": {"1": "positive", "0": "negative"}}, r"labels of the task .*'0'"),
        ({"title": "Other", "order": 7, "texts_may_be_shown": False}, None),
        ({"labels": None}, None),  # those of the training file, whose digest is compared
    ],
)
def test_another_definition_of_the_task(settings, changes, reason):
    finished(settings)
    run = find_run(settings(), TASKS["nsmc"].model_copy(update=changes), FILES)
    assert run.state == ("replace" if reason else "trained")
    assert re.search(reason or "^$", run.reason)


def test_a_setting_that_an_older_version_did_not_record_has_its_default(settings):
    run = finished(settings)
    record = json.loads((run.folder / "settings.json").read_text())
    del record["settings"]["class_weights"], record["settings"]["threshold"]
    (run.folder / "settings.json").write_text(json.dumps(record))
    assert find(settings).complete
    assert "class_weights 'none', now 'balanced'" in find(settings, class_weights="balanced").reason


def test_other_weights_in_the_same_file(settings, tmp_path):
    path = tmp_path / "weights.json"
    path.write_text('{"0": 1, "1": 2}')
    changes = {"class_weights": path}
    run = finished(lambda **more: settings(**changes | more))
    record = json.loads((run.folder / "settings.json").read_text())
    (run.folder / "settings.json").write_text(json.dumps(record | {"class_weights": {"0": 1.0, "1": 2.0}}))
    assert find(settings, **changes).complete
    path.write_text('{"0": 1, "1": 3}')
    assert "other weights in" in find(settings, **changes).reason
    assert find(settings, **changes, do_train=False).complete  # they play no part in scoring
    path.write_text('{"0": 1}')
    with pytest.raises(ConfigError, match="'1' is missing"):  # before anything is loaded
        find(settings, **changes, output_dir="other")


def test_features_only_ignores_the_folder(settings):
    run = finished(settings)
    (run.folder / "settings.json").write_text("{")
    assert find(settings, do_train=False, do_eval=False).state == "new"


def test_an_unfinished_run_is_not_scored_with_other_outputs(settings):
    interrupted(settings)
    with pytest.raises(CheckpointError, match="answer_text"):
        find(settings, do_train=False, answer_text="legacy")


def test_scores_of_an_unfinished_run_are_those_it_has_saved(settings):
    interrupted(settings)
    history = find(settings, do_train=False).history
    assert {step: scores["dev"]["acc"] for step, scores in history.scores.items()} == {1: 0.4, 2: 0.5, 3: 0.6}
    assert history.cautions == {3: {"dev": ["it is lost"]}}


def test_scoring_an_unfinished_run_keeps_its_state(settings):
    interrupted(settings)
    run = find(settings, do_train=False)
    run.start({"definition": DEFINITION}, {})
    assert run.unscored() == [(2, ["test"])]
    run.add_scores(2, "test", {"acc": 0.6})
    run.finish(0.0, 1.0)
    assert list(json.loads((run.folder / "eval_results.json").read_text())["scores"]) == ["1", "2", "3"]
    assert run.state_file.exists()
    end_process(run)
    again = find(settings)
    assert again.state == "resume"
    again.start({"definition": DEFINITION}, {})
    again.finish_training({})
    end_process(again)
    # If it is killed here, before it writes its own results, those of the scoring must not make it look finished.
    assert find(settings).state == "resume"


def test_an_interrupted_rescoring_is_repeated(settings):
    finished(settings)
    changes = {"do_train": False, "answer_text": "legacy"}
    run = find(settings, **changes)
    run.start({"definition": DEFINITION}, {})
    end_process(run)  # before anything is scored
    for again in (find(settings), find(settings, **changes)):
        assert (again.state, again.complete) == ("trained", False)
        assert again.unscored() == [(1, ["dev", "test"])]


@pytest.mark.parametrize(
    ("content", "message"),
    [("{", r"settings\.json is damaged"), ("{}", r"no run .*settings\.json"), ('{"a": 1}', r"settings\.json is not of a run")],
)
def test_rejects_a_damaged_record(settings, content, message):
    run = finished(settings)
    (run.folder / "settings.json").write_text(content)
    with pytest.raises(CheckpointError, match=message):
        find(settings)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("eval_results.json", {}),
        ("eval_results.json", {"scores": {"x": 1}}),
        ("eval_results.json", {"scores": 3}),
        ("settings.json", {"settings": {}, "data": {"train": {}}}),
        ("settings.json", {"settings": 3, "data": {}}),
    ],
)
def test_rejects_records_with_other_content(settings, name, content):
    run = finished(settings)
    (run.folder / name).write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match="is damaged"):
        find(settings, do_eval=False).report()


def test_a_run_killed_at_its_start_leaves_a_usable_folder(settings):
    run = find(settings)
    run.folder.mkdir(parents=True)
    (run.folder / ".settings.json.partial").write_text("{")
    assert find(settings).state == "new"
    start(settings)
    assert visible(run.folder) == ["settings.json"]
