import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest
from safetensors.numpy import save_file

from src.errors import CheckpointError, EnvironmentFailure
from src.files import hold, read_facts
from src.run_status import find_run, read_settings
from tests.conftest import SAMPLE


@dataclass
class File:
    path: Path = Path("f")
    sha256: str = "1" * 64
    status: str = "other"


FILES = {"train": File(), "dev": File(), "test": File()}
NO_DEV = {"train": File(), "test": File()}


def start(settings, files=FILES, **changes):
    run = find_run(settings(**changes), "acc", files)
    run.start({"device": "a test"}, {split: {"rows": 3} for split in files})
    return run


def save(run, step, **accuracies):
    """A checkpoint of one file, scored as given."""
    for split, accuracy in accuracies.items():
        run.add_scores(step, split, {"acc": accuracy, "loss": 1.0})
    run.save_checkpoint(step, lambda folder: (folder / "model.safetensors").write_text(str(step)) and None)


def finish(run):
    run.finish_training({"evaluation_seconds": 0.0})
    run.finish(1.5, 4.0)
    os.close(run.lock)  # as at the end of the process
    return json.loads((run.folder / "eval_results.json").read_text())


def test_selection_on_dev_and_on_test_the_earliest_of_equals(settings):
    run = start(settings)
    for step, dev, test in ((1, 0.5, 0.4), (2, 0.7, 0.6), (3, 0.7, 0.9), (4, 0.6, 0.9)):
        save(run, step, dev=dev, test=test)
    results = finish(run)
    assert results["selected"] == {
        "step": 2, "checkpoint": "checkpoint-2", "by": "dev", "dev": {"acc": 0.7, "loss": 1.0}, "test": {"acc": 0.6, "loss": 1.0},
    }  # fmt: skip
    assert results["best_on_test"] == {"step": 3, "checkpoint": "checkpoint-3", "test": {"acc": 0.9, "loss": 1.0}}
    assert list(results) == ["task", "model", "data", "headline", "scores", "selected", "best_on_test"]
    assert results["data"]["dev"] == {"status": "other", "sha256": "1" * 64, "rows": 3}


def test_without_a_dev_file_the_last_is_selected(settings):
    run = start(settings, NO_DEV)
    save(run, 1, test=0.9)
    save(run, 2, test=0.8)
    results = finish(run)
    assert (results["selected"]["step"], results["selected"]["by"], results["best_on_test"]["step"]) == (2, "last", 1)


def test_only_saved_checkpoints_are_chosen(settings):
    run = start(settings, NO_DEV)
    run.add_scores(1, "test", {"acc": 1.0})
    save(run, 2, test=0.5)
    assert finish(run)["best_on_test"]["step"] == 2


def test_result_lines(settings):
    run = start(settings, NO_DEV)
    for step in (200, 1000):
        save(run, step, test=step / 10000)
    finish(run)
    assert (run.folder / "eval_results.txt").read_text() == "acc_200 = 0.02\nacc_1000 = 0.1\nloss_200 = 1.0\nloss_1000 = 1.0\n"
    assert (run.folder / "test" / "test-200.txt").read_text() == "  acc = 0.02\n  loss = 1.0\n"


def test_pruning_keeps_the_last_the_selected_and_the_best_on_test(settings):
    run = start(settings)
    kept = []
    for step, dev, test in ((1, 0.5, 0.9), (2, 0.8, 0.1), (3, 0.1, 0.1), (4, 0.2, 0.2), (5, 0.3, 0.3)):
        save(run, step, dev=dev, test=test)
        run.prune()
        kept.append(run.checkpoints())
    assert kept == [[1], [1, 2], [1, 2, 3], [1, 2, 4], [1, 2, 5]]
    assert sorted(path.name for path in run.folder.iterdir()) == [
        "checkpoint-1",
        "checkpoint-2",
        "checkpoint-5",
        "dev",
        "settings.json",
        "test",
    ]


@pytest.mark.parametrize(("limit", "expected"), [(0, [1, 2, 6]), (2, [1, 2, 6]), (4, [1, 2, 5, 6]), (-1, [1, 2, 3, 4, 5, 6])])
def test_save_total_limit(settings, limit, expected):
    run = start(settings, save_total_limit=limit)
    for step, dev, test in ((1, 0.5, 0.9), (2, 0.8, 0.1), (3, 0.1, 0.1), (4, 0.2, 0.2), (5, 0.3, 0.3), (6, 0.3, 0.3)):
        save(run, step, dev=dev, test=test)
        run.prune()
    assert run.checkpoints() == expected


def test_a_checkpoint_that_is_still_to_be_scored_is_not_pruned(settings):
    run = start(settings, do_eval=False)
    for step in (1, 2, 3):
        save(run, step, dev=step / 10)
        run.prune()
    assert run.checkpoints() == [1, 2, 3]
    assert run.unscored() == [(1, ["test"]), (2, ["test"]), (3, ["test"])]
    os.close(run.lock)
    run = start(settings, do_eval=False, eval_all_checkpoints=False, resume=False)
    for step, dev in ((1, 0.9), (2, 0.1), (3, 0.1)):
        save(run, step, dev=dev)
        run.prune()
    assert run.checkpoints() == [1, 3]
    assert run.unscored() == [(1, ["test"]), (3, ["test"])]


def test_without_eval_all_checkpoints_dev_is_scored_before_the_selected_is_known(settings):
    run = start(settings, eval_all_checkpoints=False)
    save(run, 1, dev=0.5)
    save(run, 2)
    assert run.unscored() == [(2, ["dev"])]


def test_a_checkpoint_is_whole_or_absent(settings):
    run = start(settings)

    def fail(folder):
        (folder / "model.safetensors").write_text("half")
        raise OSError("disk full")

    with pytest.raises(EnvironmentFailure, match=r"checkpoint-1 cannot be written: disk full\. What was kept before it is whole"):
        run.save_checkpoint(1, fail)
    assert run.checkpoints() == []
    assert [path.name for path in run.folder.iterdir()] == ["settings.json"]
    save(run, 1, dev=0.1)
    assert run.checkpoints() == [1]
    assert sorted(path.name for path in run.checkpoint_folder(1).iterdir()) == ["model.safetensors", "settings.json"]


def test_settings_are_recorded(settings):
    run = start(settings, learning_rate=0.5)
    record = json.loads((run.folder / "settings.json").read_text())
    assert record["settings"]["learning_rate"] == 0.5
    assert record["layers"]["learning_rate"] == "command line"
    assert record["data"]["train"] == {"file": "f", "status": "other", "sha256": "1" * 64, "rows": 3}
    assert (record["seed"], record["device"]) == (42, "a test")


# -- the same command again ------------------------------------------------------------------------------------------------


def finished(settings):
    run = start(settings)
    save(run, 1, dev=0.5, test=0.5)
    finish(run)
    return run


def test_a_finished_run_is_found_again(settings):
    first = finished(settings)
    run = find_run(settings(), "acc", FILES)
    assert run.complete
    assert run.history.scores == first.history.scores
    assert run.report() == first.report()


def test_settings_that_change_nothing_find_it_too(settings):
    finished(settings)
    assert find_run(settings(log_every=7, save_total_limit=5), "acc", FILES).complete


@pytest.mark.parametrize(
    ("changes", "files", "why"),
    [
        ({"learning_rate": 0.5}, FILES, "other settings (learning_rate 0.001, now 0.5)"),
        ({}, {**FILES, "train": File(sha256="2" * 64)}, "other settings (another train file)"),
        ({"resume": False}, FILES, "--resume false"),
        ({"overwrite_output_dir": True}, FILES, "holds an earlier run"),
        ({"num_train_epochs": 3}, FILES, "num_train_epochs 10.0, now 3.0"),
    ],
)
def test_when_an_earlier_run_gives_way(settings, changes, files, why):
    finished(settings)
    run = find_run(settings(**changes), "acc", files)
    assert why in run.why
    assert run.state == "in the way"
    assert not run.complete
    assert (run.folder / "checkpoint-1").is_dir()  # looking changes nothing


def test_checkpoints_without_a_state_to_go_on_from_are_put_aside(settings):
    first = start(settings)
    save(first, 1, dev=0.5, test=0.5)
    first.finish(0.0, 1.0)  # scored, but its training never came to its end
    os.close(first.lock)
    run = find_run(settings(), "acc", FILES)
    assert run.why == "holds a run that did not finish training and left no state to go on from"
    run.start({}, {})
    assert visible(first.folder.parent) == ["run", "run.1"]
    assert (first.folder.parent / "run.1" / "checkpoint-1").is_dir()


def visible(folder):
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


def test_a_folder_that_is_no_run_s_is_left_alone(settings, tmp_path):
    foreign = tmp_path / "ckpt" / "mine"
    foreign.mkdir(parents=True)
    (foreign / "thesis.txt").write_text("precious")
    for changes in ({}, {"overwrite_output_dir": True}, {"resume": False}):
        with pytest.raises(CheckpointError, match="holds files, but none of a run"):
            find_run(settings(output_dir="mine", **changes), "acc", FILES)
    assert (foreign / "thesis.txt").read_text() == "precious"


def test_overwriting_removes_an_earlier_run(settings):
    first = finished(settings)
    find_run(settings(overwrite_output_dir=True), "acc", FILES).start({}, {})
    assert visible(first.folder) == ["settings.json"]


def test_overwriting_takes_the_command_line(settings):
    """The original's KorQuAD files say overwrite_output_dir: true, and nobody expects them to remove anything."""
    finished(settings)
    chosen = settings(overwrite_output_dir=True)
    chosen._layers["overwrite_output_dir"] = "config/tasks/korquad.json"
    assert find_run(chosen, "acc", FILES).complete


def test_two_processes_do_not_share_a_folder(settings):
    first = start(settings)
    with pytest.raises(CheckpointError, match=rf"process {os.getpid()} is at work in {first.folder}"):
        find_run(settings(seed=2), "acc", FILES).start({}, {})
    assert visible(first.folder.parent) == ["run"]
    os.close(first.lock)  # a process that has ended, however it did, blocks nobody
    find_run(settings(seed=2), "acc", FILES).start({}, {})
    assert visible(first.folder.parent) == ["run", "run.1"]


def test_a_folder_that_changes_between_looking_and_starting(settings):
    late = find_run(settings(seed=2), "acc", FILES)
    finished(settings)
    with pytest.raises(CheckpointError, match="changed by another process meanwhile"):
        late.start({}, {})


def test_the_report_of_a_finished_run_is_its_record_even_without_checkpoints(settings):
    run = start(settings)
    save(run, 1, dev=0.9, test=0.9)
    save(run, 2, dev=0.5, test=0.5)
    finish(run)
    report = run.report()
    shutil.rmtree(run.checkpoint_folder(1))
    again = find_run(settings(), "acc", FILES)
    assert again.complete
    assert again.report() == report
    assert "selected      step 1       dev 0.9000  test 0.9000" in report


def test_other_weights_in_the_model_s_folder_are_another_run(settings, tmp_path):
    model = shutil.copytree(SAMPLE / "tiny-electra", tmp_path / "model")
    run = start(settings, model_name_or_path=model)
    save(run, 1, dev=0.5, test=0.5)
    finish(run)
    assert find_run(settings(model_name_or_path=model), "acc", FILES).complete
    (model / "vocab.txt").write_text("another")
    assert "other files in" in find_run(settings(model_name_or_path=model), "acc", FILES).why


def test_scoring_without_training(settings, tmp_path):
    with pytest.raises(CheckpointError, match="holds no checkpoint to score"):
        find_run(settings(do_train=False), "acc", FILES)
    run = start(settings, do_eval=False, learning_rate=0.5)
    save(run, 1, dev=0.5)
    assert find_run(settings(do_train=False), "acc", NO_DEV).state == "partial"
    finish(run)
    run = find_run(settings(do_train=False, learning_rate=0.1, no_cuda=True), "acc", NO_DEV)  # not what scoring depends on
    assert (run.state, run.complete) == ("trained", False)
    assert run.unscored() == [(1, ["test"])]
    assert run.data["train"]["rows"] == 3
    with pytest.raises(CheckpointError, match="other settings"):
        find_run(settings(do_train=False, max_seq_len=64), "acc", FILES)
    with pytest.raises(CheckpointError, match="another test file"):
        find_run(settings(do_train=False), "acc", {"test": File(sha256="2" * 64)})


@pytest.mark.parametrize(
    ("content", "expected"),
    [("{", r"settings\.json is damaged"), ("{}", "holds files, but none"), ('{"a": 1}', "is not a run's")],
)
def test_a_damaged_record_is_one_clear_error(settings, content, expected):
    run = finished(settings)
    (run.folder / "settings.json").write_text(content)
    with pytest.raises(CheckpointError, match=expected):
        find_run(settings(), "acc", FILES)


def begun(settings):
    """A run that was ended at step 2, with a line too many in its log, half a checkpoint and half a file."""
    run = start(settings)
    for step in (1, 2, 3):
        run.log({"step": step})
    with open(run.folder / "log.jsonl", "a") as log:
        log.write('{"step": 4, "los')
    kept = {"step": 2, "scores": {"1": {"dev": {"acc": 0.4}}, "2": {"dev": {"acc": 0.5}}}}
    run.save_state(lambda path: save_file({}, path, {"facts": json.dumps(kept)}))
    save(run, 2, dev=0.5, test=0.5)
    (run.folder / ".checkpoint-3.partial").mkdir()
    (run.folder / ".cost.json.partial").write_text("{")
    os.close(run.lock)
    return run


def test_an_unfinished_run_goes_on(settings):
    begun(settings)
    run = find_run(settings(), "acc", FILES)
    assert (run.state, run.complete, run.has_checkpoints) == ("unfinished", False, False)
    run.start({}, {})
    assert sorted(path.name for path in run.folder.iterdir()) == [
        "checkpoint-2", "dev", "log.jsonl", "resume", "settings.json", "test",
    ]  # fmt: skip
    run.go_back_to(2, {2: {"dev": {"acc": 0.5}}})
    assert (run.folder / "log.jsonl").read_text() == '{"step": 1}\n{"step": 2}\n'
    assert run.history.has(2, "dev")
    assert run.state_file.is_file()
    finish(run)
    assert not (run.folder / "resume").exists()


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"resume": False}, "--resume false"),
        ({"seed": 7}, "other settings (seed 42, now 7)"),
        ({"overwrite_output_dir": True}, "holds an earlier run"),
        # A finished run is only scored anew for it; of an unfinished one some scores would be of the one kind, some of the other.
        ({"answer_text": "legacy"}, "other settings (answer_text 'offsets', now 'legacy')"),
    ],
)
def test_when_an_unfinished_run_gives_way(settings, changes, why):
    begun(settings)
    run = find_run(settings(**changes), "acc", FILES)
    assert run.state == "in the way"
    assert why in run.why
    run.start({}, {})
    assert not run.state_file.exists()
    assert (run.folder.with_name("run.1") / "checkpoint-2").exists() != ("overwrite_output_dir" in changes)


def test_scoring_what_an_unfinished_run_left_does_not_take_its_state(settings):
    begun(settings)
    run = find_run(settings(do_train=False), "acc", FILES)
    assert run.state == "partial"
    run.start({}, {})
    assert run.unscored() == [(2, ["test"])]
    run.add_scores(2, "test", {"acc": 0.6})
    run.finish(0.0, 1.0)
    assert list(json.loads((run.folder / "eval_results.json").read_text())["scores"]) == ["1", "2"]
    assert run.state_file.exists()
    os.close(run.lock)
    again = find_run(settings(), "acc", FILES)
    assert again.state == "unfinished"
    again.start({}, {})
    again.finish_training({})
    os.close(again.lock)
    # Killed here, before its own results are written, it must not be taken for finished by those that were there.
    assert find_run(settings(), "acc", FILES).state == "unfinished"


def test_an_unfinished_run_is_not_scored_in_another_way(settings):
    begun(settings)
    with pytest.raises(CheckpointError, match="other settings"):
        find_run(settings(do_train=False, answer_text="legacy"), "acc", FILES)


def test_a_rescoring_that_is_cut_short_is_done_again(settings):
    finished(settings)
    chosen = {"do_train": False, "answer_text": "legacy"}
    run = find_run(settings(**chosen), "acc", FILES)
    run.start({}, {})
    os.close(run.lock)  # as at its end, here
    for changes in ({}, chosen):
        again = find_run(settings(**changes), "acc", FILES)
        assert (again.state, again.complete) == ("trained", False)
        assert again.unscored() == [(1, ["dev", "test"])]


@pytest.mark.parametrize("line", ["x}", '{"a": 1}', "[3]", '{"step": 4, "los', "\udcff"])
def test_a_log_line_that_is_damaged_is_dropped(settings, line):
    run = begun(settings)
    log = run.folder / "log.jsonl"
    log.write_bytes(b'{"step": 1}\n' + line.encode("utf-8", "surrogateescape") + b'\n{"step": 2}\n')
    run.go_back_to(2, {})
    assert log.read_text() == '{"step": 1}\n{"step": 2}\n'


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
def test_records_that_hold_something_else(settings, name, content):
    run = finished(settings)
    (run.folder / name).write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match="is damaged"):
        find_run(settings(do_eval=False), "acc", FILES).report()


def test_what_a_killed_overwriting_left_is_removed(settings, tmp_path):
    left = tmp_path / "ckpt" / ".run.partial" / "checkpoint-1"
    left.mkdir(parents=True)
    start(settings)
    assert not left.parent.exists()


def test_the_state_of_a_run_that_another_process_finishes_is_left_to_it(settings):
    run = finished(settings)
    run.state_file.parent.mkdir()
    busy = hold(run.folder.with_name(".run.lock"), "run")
    find_run(settings(), "acc", FILES).clear_up()
    assert run.state_file.parent.exists()
    os.close(busy)
    again = find_run(settings(), "acc", FILES)
    again.clear_up()
    os.close(again.lock)
    assert not run.state_file.parent.exists()


def test_a_process_that_is_killed_while_it_starts_leaves_nothing_in_the_way(settings):
    run = find_run(settings(), "acc", FILES)
    run.folder.mkdir(parents=True)
    (run.folder / ".settings.json.partial").write_text("{")
    assert find_run(settings(), "acc", FILES).state == "absent"
    start(settings)
    assert visible(run.folder) == ["settings.json"]


def test_a_state_that_cannot_be_written_leaves_the_one_before(settings):
    run = begun(settings)

    def fail(path):
        path.write_text("half")
        raise OSError(28, "No space left on device")

    with pytest.raises(
        EnvironmentFailure, match=r"state\.safetensors cannot be written: .*No space left on device\. What was kept"
    ):
        run.save_state(fail)
    assert [path.name for path in run.state_file.parent.iterdir()] == ["state.safetensors"]
    assert read_facts(run.state_file)["step"] == 2


def test_what_scoring_costs_is_added(settings):
    run = finished(settings)
    run.finish(2.0, 4.0)
    assert json.loads((run.folder / "cost.json").read_text()) == {"evaluation_seconds": 3.5, "preparation_seconds": 4.0}


def test_a_folder_that_cannot_be_made(settings, tmp_path):
    (tmp_path / "ckpt").write_text("a file in the way")
    with pytest.raises(EnvironmentFailure, match=r"cannot be made: (Not a directory|File exists)"):
        start(settings)


def test_what_is_known_of_a_split_is_kept_in_the_results(settings):
    run = find_run(settings(), "f1", {"test": File()})
    run.start({}, {"test": {"rows": 3, "windows": 4, "ceiling": {"f1": 96.0}}})
    results = finish(run)
    assert results["data"]["test"] == {"status": "other", "sha256": "1" * 64, "rows": 3, "windows": 4, "ceiling": {"f1": 96.0}}


def test_prediction_files_have_the_step_in_their_names(settings):
    run = start(settings)
    run.write_predictions(7, "test", {"predictions.json": iter(["{}"]), "nbest.json": iter(["[]"])})
    assert sorted(path.name for path in (run.folder / "test").iterdir()) == ["nbest-7.json", "predictions-7.json"]


def test_the_settings_of_a_checkpoint(settings):
    run = start(settings, learning_rate=0.5)
    save(run, 1, dev=0.5, test=0.5)
    checkpoint = run.checkpoint_folder(1)
    with pytest.raises(CheckpointError, match="is no checkpoint of a run"):  # it has no config.json
        read_settings(checkpoint)
    (checkpoint / "config.json").write_text("{}")
    assert read_settings(checkpoint).model_dump() == settings(learning_rate=0.5).model_dump()
    record = json.loads((checkpoint / "settings.json").read_text())
    (checkpoint / "settings.json").write_text(json.dumps(record | {"settings": record["settings"] | {"max_seq_len": "long"}}))
    with pytest.raises(CheckpointError, match="holds settings that cannot be:\n  - max_seq_len: "):
        read_settings(checkpoint)
    with pytest.raises(CheckpointError, match=r"is the folder of a run\. Name one of its checkpoints: .*/checkpoint-1"):
        read_settings(run.folder)
    with pytest.raises(CheckpointError, match="is no checkpoint of a run"):
        read_settings(run.folder / "nowhere")
