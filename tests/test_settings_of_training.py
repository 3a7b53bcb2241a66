"""Settings that change how a model is trained, on the command lines that users type."""

import json

import pytest

SHORT = ["--max_steps", "12", "--save_steps", "4", "--logging_steps", "3", "--log_every", "5"]
ALL = ["--layer_decay", "0.8", "--lr_scheduler", "cosine", "--warmup_proportion", "0.2", "--label_smoothing", "0.1"]
STOPS = ["--dev_ratio", "0.2", "--early_stopping_patience", "2", "--learning_rate", "1e-9"]


def read(folder, name):
    return json.loads((folder / name).read_text())


@pytest.mark.parametrize("task", ["korsts", "naver-ner", "korquad"])
def test_every_script_trains_with_all_of_them(tiny, tmp_path, task):
    dev = [] if task == "korsts" else ["--dev_ratio", "0.3"]
    done = tiny(*SHORT, *ALL, *dev, "--max_train_samples", "20", "--early_stopping_patience", "9", task=task)
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "ckpt" / f"tiny-{task}-ckpt"
    train = read(folder, "eval_results.json")["data"]["train"]
    assert train["rows"] == 20 < train["drawn_from"]
    assert read(folder, "settings.json")["data"]["train"]["drawn_from"] == train["drawn_from"]
    assert "stopped_early" not in read(folder, "cost.json")


def test_a_run_that_stopped_early_is_scored_and_repeated_as_finished(tiny, tmp_path):
    """It is scored without the settings of its training: what it was trained on stays on record."""
    flags, folder = [*SHORT, *STOPS, "--max_train_samples", "40"], tmp_path / "ckpt" / "tiny-nsmc-ckpt"
    trained = tiny(*flags, "--do_eval", "false")
    assert trained.returncode == 0 and "training stopped early, at step 6 of 12" in trained.stderr, trained.stderr
    assert sorted(path.name for path in folder.glob("checkpoint-*")) == ["checkpoint-4", "checkpoint-6"]
    weights = (folder / "checkpoint-6" / "model.safetensors").read_bytes()
    scored = tiny("--dev_ratio", "0.2", "--do_train", "false")
    assert scored.returncode == 0 and "step 6, test: acc" in scored.stderr, scored.stderr
    results = read(folder, "eval_results.json")
    assert (results["data"]["train"]["rows"], results["data"]["train"]["drawn_from"]) == (40, 320)
    assert results["data"]["dev"]["rows"] == 80  # a fifth of all rows
    assert list(results["scores"]) == ["3", "4", "6"]
    again = tiny(*flags)
    assert (again.returncode, again.stdout) == (0, scored.stdout)
    assert (folder / "checkpoint-6" / "model.safetensors").read_bytes() == weights
    assert read(folder, "cost.json")["stopped_early"]["step"] == 6
    assert [path.name for path in folder.parent.iterdir() if path.is_dir()] == [folder.name]  # nothing was set aside


def test_early_stopping_without_a_dev_set(tiny):
    done = tiny("--early_stopping_patience", "2")
    assert done.returncode == 2 and "--dev_ratio" in done.stderr
