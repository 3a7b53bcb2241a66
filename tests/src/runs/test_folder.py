import errno
import json
import os
import shutil
from pathlib import Path

import pytest

from processor.definition import TASKS
from src.common.errors import CheckpointError, EnvironmentFailure
from src.common.files import hold
from src.runs import folder as run_folder
from src.runs.status import find_run
from src.training.state_file import read_state
from tests.src.run_folders import FILES, NO_DEV, data_file, end_process, finish, finished, interrupted, save, start, visible


def write_half_and_fail(path):
    path.write_text("half")
    raise OSError(28, "No space left on device")


# -- start -----------------------------------------------------------------------------------------------------------------


def test_records_settings_layers_data_and_environment(settings):
    run = start(settings, learning_rate=0.5)
    record = json.loads((run.folder / "settings.json").read_text())
    assert record["settings"]["learning_rate"] == 0.5
    assert record["layers"]["learning_rate"] == "command line"
    assert record["data"]["train"] == {"file": "f", "status": "other", "sha256": "1" * 64, "rows": 3}
    assert (record["seed"], record["device"]) == (42, "a test")


def test_overwriting_removes_an_earlier_run(settings):
    first = finished(settings)
    find_run(settings(overwrite_output_dir=True), TASKS["nsmc"], FILES).start({}, {})
    assert visible(first.folder) == ["settings.json"]


def test_removes_what_a_killed_overwriting_left(settings, tmp_path):
    leftover = tmp_path / "ckpt" / ".run.partial" / "checkpoint-1"
    leftover.mkdir(parents=True)
    start(settings)
    assert not leftover.parent.exists()


def test_two_processes_do_not_share_a_folder(settings):
    first = start(settings)
    with pytest.raises(CheckpointError, match=rf"process {os.getpid()} .*{first.folder}"):
        find_run(settings(seed=2), TASKS["nsmc"], FILES).start({}, {})
    assert visible(first.folder.parent) == ["run"]
    end_process(first)  # however a process ends, its lock is gone
    find_run(settings(seed=2), TASKS["nsmc"], FILES).start({}, {})
    assert visible(first.folder.parent) == ["run", "run.1"]


@pytest.mark.parametrize("other", [finished, interrupted])
def test_rejects_a_folder_that_changed_since_it_was_found(settings, other):
    late = find_run(settings(seed=2), TASKS["nsmc"], FILES)
    folder = other(settings).folder
    with pytest.raises(CheckpointError, match=f"another process has changed {folder}"):
        late.start({}, {})


def test_rejects_a_folder_that_cannot_be_created(settings, tmp_path):
    (tmp_path / "ckpt").write_text("a file")
    with pytest.raises(EnvironmentFailure, match=r"ckpt.*(Not a directory|File exists)"):
        start(settings)


def test_resumes_an_interrupted_run(settings):
    interrupted(settings)
    run = find_run(settings(), TASKS["nsmc"], FILES)
    assert (run.state, run.complete, run.has_checkpoints) == ("resume", False, False)
    run.start({}, {})
    assert sorted(path.name for path in run.folder.iterdir()) == [
        "checkpoint-2", "dev", "log.jsonl", "resume", "settings.json",
    ]  # fmt: skip
    run.rewind(2)
    assert (run.folder / "log.jsonl").read_text() == '{"step": 1}\n{"step": 2}\n'
    assert (list(run.history.scores), run.history.cautions) == ([1, 2], {})
    assert list(json.loads((run.folder / "resume" / "scores.json").read_text())["scores"]) == ["1", "2"]
    assert run.state_file.is_file()
    run.rewind(2, unlogged=1)  # the state was saved before the line of step 2
    assert (run.folder / "log.jsonl").read_text() == '{"step": 1}\n'
    finish(run)
    assert not (run.folder / "resume").exists()


# -- results ---------------------------------------------------------------------------------------------------------------


def test_selects_on_dev_and_best_on_test_the_earliest_on_ties(settings):
    run = start(settings)
    for step, dev, test in ((1, 0.5, 0.4), (2, 0.7, 0.6), (3, 0.7, 0.9), (4, 0.6, 0.9)):
        save(run, step, dev=dev, test=test)
    results = finish(run)
    assert results["selected"] == {
        "step": 2, "checkpoint": "checkpoint-2", "by": "dev", "dev": {"acc": 0.7, "loss": 1.0}, "test": {"acc": 0.6, "loss": 1.0},
    }  # fmt: skip
    assert results["best_on_test"] == {"step": 3, "checkpoint": "checkpoint-3", "test": {"acc": 0.9, "loss": 1.0}}
    assert list(results) == ["task", "model", "data", "headline", "scores", "cautions", "selected", "best_on_test"]
    assert results["data"]["dev"] == {"status": "other", "sha256": "1" * 64, "rows": 3}


def test_selects_the_last_checkpoint_without_a_dev_file(settings):
    run = start(settings, NO_DEV)
    save(run, 1, test=0.9)
    save(run, 2, test=0.8)
    results = finish(run)
    assert (results["selected"]["step"], results["selected"]["by"], results["best_on_test"]["step"]) == (2, "last", 1)


def test_selects_saved_checkpoints_only(settings):
    run = start(settings, NO_DEV)
    run.add_scores(1, "test", {"acc": 1.0})
    save(run, 2, test=0.5)
    assert finish(run)["best_on_test"]["step"] == 2


def test_writes_result_lines(settings):
    run = start(settings, NO_DEV)
    for step in (200, 1000):
        save(run, step, test=step / 10000)
    finish(run)
    assert (run.folder / "eval_results.txt").read_text() == "acc_200 = 0.02\nacc_1000 = 0.1\nloss_200 = 1.0\nloss_1000 = 1.0\n"
    assert (run.folder / "test" / "test-200.txt").read_text() == "  acc = 0.02\n  loss = 1.0\n"


def test_results_hold_the_facts_about_each_split(settings):
    run = find_run(settings(), TASKS["hate-speech"], {"test": data_file()})
    run.start({}, {"test": {"rows": 3, "windows": 4, "ceiling": {"f1": 96.0}}})
    results = finish(run)
    assert results["data"]["test"] == {"status": "other", "sha256": "1" * 64, "rows": 3, "windows": 4, "ceiling": {"f1": 96.0}}


def test_writes_prediction_files_with_the_step_in_their_names(settings):
    run = start(settings)
    run.write_predictions(7, "test", {"predictions.json": iter(["{}"]), "nbest.json": iter(["[]"])})
    assert visible(run.folder / "test") == ["nbest-7.json", "predictions-7.json"]


def test_evaluation_seconds_add_up(settings):
    run = finished(settings)
    run.finish(2.0, 4.0)
    assert json.loads((run.folder / "cost.json").read_text()) == {"evaluation_seconds": 3.5, "preparation_seconds": 4.0}


def test_reports_a_finished_run_without_its_checkpoints(settings):
    run = start(settings)
    save(run, 1, dev=0.9, test=0.9)
    save(run, 2, dev=0.5, test=0.5)
    finish(run)
    report = run.report()
    shutil.rmtree(run.checkpoint_folder(1))
    again = find_run(settings(), TASKS["nsmc"], FILES)
    assert again.complete
    assert again.report() == report
    assert "selected      step 1       dev 0.9000  test 0.9000" in report


def test_a_file_system_that_cannot_rename_folders_is_noticed_before_training(settings, monkeypatch):
    """As mountpoint-s3 is."""
    rename = Path.rename
    refused = PermissionError(errno.EPERM, "Operation not permitted")

    def rename_files_only(path, target):
        if path.is_dir():
            raise refused
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", rename_files_only)
    with pytest.raises(EnvironmentFailure, match=r"ckpt/run.*not permitted.*--ckpt_dir"):
        start(settings)


def test_a_file_system_without_modes(settings, monkeypatch):
    def refuse(*args, **kwargs):
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "chmod", refuse)
    run = start(settings)
    save(run, 1, dev=0.5)
    assert run.checkpoints() == [1]


def test_a_checkpoint_that_cannot_be_removed_costs_a_warning(settings, monkeypatch, caplog):
    run = start(settings)
    for step in (1, 2, 3):
        save(run, step, dev=step / 10, test=step / 10)

    def busy(path):
        raise OSError(errno.EBUSY, "Device or resource busy")

    monkeypatch.setattr(run_folder, "remove_at_once", busy)
    run.prune()
    assert [record.args for record in caplog.records] == [
        (run.checkpoint_folder(step), "Device or resource busy") for step in (1, 2)
    ]


# -- saved state and log ---------------------------------------------------------------------------------------------------


def test_a_state_that_cannot_be_written_leaves_the_previous_one(settings):
    run = interrupted(settings)
    with pytest.raises(EnvironmentFailure, match=r"state\.safetensors .*No space left on device"):
        with run.new_state() as path:
            write_half_and_fail(path)
    assert visible(run.state_file.parent) == ["scores.json", "state.safetensors"]
    assert read_state(run.state_file)["step"] == 2


def test_removes_the_state_of_a_complete_run_unless_another_process_does(settings):
    run = finished(settings)
    run.state_file.parent.mkdir()
    busy = hold(run.folder.with_name(".run.lock"), "run")
    find_run(settings(), TASKS["nsmc"], FILES).remove_state()
    assert run.state_file.parent.exists()
    os.close(busy)
    again = find_run(settings(), TASKS["nsmc"], FILES)
    again.remove_state()
    end_process(again)
    assert not run.state_file.parent.exists()


@pytest.mark.parametrize("line", ["x}", '{"a": 1}', "[3]", '{"step": 4, "los', "\udcff"])
def test_drops_damaged_log_lines(settings, line):
    run = interrupted(settings)
    log = run.folder / "log.jsonl"
    log.write_bytes(b'{"step": 1}\n' + line.encode("utf-8", "surrogateescape") + b'\n{"step": 2}\n')
    run.rewind(2)
    assert log.read_text() == '{"step": 1}\n{"step": 2}\n'


# -- checkpoints -----------------------------------------------------------------------------------------------------------


def test_a_checkpoint_is_complete_or_absent(settings):
    run = start(settings)
    with pytest.raises(EnvironmentFailure, match=r"checkpoint-1 .*No space left on device"):
        with run.new_checkpoint(1) as folder:
            write_half_and_fail(folder / "model.safetensors")
    assert run.checkpoints() == []
    assert [path.name for path in run.folder.iterdir()] == ["settings.json"]
    save(run, 1, dev=0.1)
    assert run.checkpoints() == [1]
    assert visible(run.checkpoint_folder(1)) == ["README.md", "model.safetensors", "settings.json"]


def test_pruning_keeps_the_last_the_selected_and_the_best_on_test(settings):
    run = start(settings)
    kept = []
    for step, dev, test in ((1, 0.5, 0.9), (2, 0.8, 0.1), (3, 0.1, 0.1), (4, 0.2, 0.2), (5, 0.3, 0.3)):
        save(run, step, dev=dev, test=test)
        run.prune()
        kept.append(run.checkpoints())
    assert kept == [[1], [1, 2], [1, 2, 3], [1, 2, 4], [1, 2, 5]]
    names = sorted(path.name for path in run.folder.iterdir())
    assert names == ["checkpoint-1", "checkpoint-2", "checkpoint-5", "dev", "resume", "settings.json", "test"]


@pytest.mark.parametrize(("limit", "expected"), [(0, [1, 2, 6]), (2, [1, 2, 6]), (4, [1, 2, 5, 6]), (-1, [1, 2, 3, 4, 5, 6])])
def test_save_total_limit(settings, limit, expected):
    run = start(settings, save_total_limit=limit)
    for step, dev, test in ((1, 0.5, 0.9), (2, 0.8, 0.1), (3, 0.1, 0.1), (4, 0.2, 0.2), (5, 0.3, 0.3), (6, 0.3, 0.3)):
        save(run, step, dev=dev, test=test)
        run.prune()
    assert run.checkpoints() == expected


def test_pruning_keeps_checkpoints_that_are_still_to_be_scored(settings):
    run = start(settings, do_eval=False)
    for step in (1, 2, 3):
        save(run, step, dev=step / 10)
        run.prune()
    assert run.checkpoints() == [1, 2, 3]
    assert run.unscored() == [(1, ["test"]), (2, ["test"]), (3, ["test"])]
    end_process(run)
    run = start(settings, do_eval=False, eval_all_checkpoints=False, resume=False)
    for step, dev in ((1, 0.9), (2, 0.1), (3, 0.1)):
        save(run, step, dev=dev)
        run.prune()
    assert run.checkpoints() == [1, 3]
    assert run.unscored() == [(1, ["test"]), (3, ["test"])]


def test_dev_is_scored_first_without_eval_all_checkpoints(settings):
    run = start(settings, eval_all_checkpoints=False)
    save(run, 1, dev=0.5)
    save(run, 2)
    assert run.unscored() == [(2, ["dev"])]
