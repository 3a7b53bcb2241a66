import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from src.checkpoint import find_run
from src.errors import CheckpointError, EnvironmentFailure


@dataclass
class File:
    path: Path = Path("f")
    sha256: str = "1" * 64
    status: str = "other"


FILES = {"train": File(), "dev": File(), "test": File()}
NO_DEV = {"train": File(), "test": File()}


def start(settings, files=FILES, **changes):
    run = find_run(settings(**changes), "acc", files)
    run.start({"device": "a test"}, dict.fromkeys(files, 3))
    return run


def save(run, step, **accuracies):
    """A checkpoint of one file, scored as given."""
    for split, accuracy in accuracies.items():
        run.add_scores(step, split, {"acc": accuracy, "loss": 1.0})
    run.save_checkpoint(step, lambda folder: (folder / "model.safetensors").write_text(str(step)) and None)


def finish(run):
    run.trained = True
    run.write_results()
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
    run = start(settings, do_eval=False, eval_all_checkpoints=False)
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

    with pytest.raises(EnvironmentFailure, match=r"checkpoint-1 cannot be written: disk full"):
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
    assert run.scores == first.scores
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
    ],
)
def test_when_an_earlier_run_gives_way(settings, changes, files, why):
    finished(settings)
    run = find_run(settings(**changes), "acc", files)
    assert why in run.put_aside
    assert not run.complete
    assert (run.folder / "checkpoint-1").is_dir()  # looking changes nothing


def test_an_unfinished_run_is_put_aside(settings):
    first = start(settings)
    save(first, 1, dev=0.5, test=0.5)
    run = find_run(settings(), "acc", FILES)
    assert run.put_aside == "holds a run that did not finish"
    run.start({}, {})
    again = find_run(settings(), "acc", FILES)
    again.start({}, {})
    assert sorted(path.name for path in first.folder.parent.iterdir()) == ["run", "run.1", "run.2"]
    assert (first.folder.parent / "run.1" / "checkpoint-1").is_dir()


def test_overwriting_removes_a_run_but_nothing_else(settings, tmp_path):
    first = finished(settings)
    find_run(settings(overwrite_output_dir=True), "acc", FILES).start({}, {})
    assert [path.name for path in first.folder.iterdir()] == ["settings.json"]
    foreign = tmp_path / "ckpt" / "mine"
    foreign.mkdir()
    (foreign / "thesis.txt").write_text("precious")
    with pytest.raises(CheckpointError, match="not written by a run"):
        find_run(settings(overwrite_output_dir=True, output_dir="mine"), "acc", FILES).start({}, {})
    assert (foreign / "thesis.txt").read_text() == "precious"


def test_overwriting_takes_the_command_line(settings, tmp_path):
    """The original's KorQuAD files say overwrite_output_dir: true, and nobody expects them to remove anything."""
    from src.settings import COMMAND_LINE

    finished(settings)
    chosen = settings(overwrite_output_dir=True)
    chosen._layers["overwrite_output_dir"] = "config/tasks/korquad.json"
    assert find_run(chosen, "acc", FILES).complete
    assert settings(overwrite_output_dir=True).layer_of("overwrite_output_dir") == COMMAND_LINE


def test_scoring_without_training(settings):
    with pytest.raises(CheckpointError, match="has no checkpoint to score"):
        find_run(settings(do_train=False), "acc", FILES)
    run = start(settings, do_eval=False)
    save(run, 1, dev=0.5)
    finish(run)
    run = find_run(settings(do_train=False), "acc", NO_DEV)
    assert run.trained
    assert run.unscored() == [(1, ["test"])]
    assert run.data["train"]["rows"] == 3
    with pytest.raises(CheckpointError, match="other settings"):
        find_run(settings(do_train=False, max_seq_len=64), "acc", FILES)


def test_a_damaged_record_is_one_clear_error(settings):
    run = finished(settings)
    (run.folder / "settings.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"settings\.json is damaged"):
        find_run(settings(), "acc", FILES)


def test_a_folder_that_cannot_be_made(settings, tmp_path):
    (tmp_path / "ckpt").write_text("a file in the way")
    with pytest.raises(EnvironmentFailure, match="cannot be made: Not a directory"):
        start(settings)
