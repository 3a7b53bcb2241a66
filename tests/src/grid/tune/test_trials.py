"""Trials: command lines that never open a test file, and what is read from and kept of their folders."""

import json

import pytest

from processor.definition import TASKS
from processor.download import find_files
from src.common.errors import CheckpointError, ConfigError
from src.grid.tune.trials import make_trial_cells, points_of, read_points, read_score, tidy
from tests.conftest import SAMPLE


def cells(tasks, dev_ratio=None, rest=()):
    return make_trial_cells("tiny", tasks, 42, dev_ratio, rest, TASKS)


def test_a_share_of_train_is_dev_for_tasks_without_a_dev_file_only():
    made = cells("question-pair,nsmc,paws", "0.1")
    assert [(cell.task, cell.settings.dev_ratio) for cell in made] == [("question-pair", 0.0), ("nsmc", 0.1), ("paws", 0.0)]
    assert all(not cell.settings.test_file and not cell.settings.do_eval and cell.settings.has_dev for cell in made)
    with pytest.raises(ConfigError, match=r"^nsmc, naver-ner: .*--dev_ratio"):
        cells("question-pair,nsmc,naver-ner")
    with pytest.raises(ConfigError, match="dev_ratio"):
        cells("nsmc", "1.5")


def test_the_files_of_a_trial_are_train_and_dev():
    (cell,) = cells("question-pair", rest=["--data_dir", str(SAMPLE)])
    assert find_files(cell.settings, TASKS["question-pair"]).keys() == {"train", "dev"}


def test_a_held_out_test_set_is_not_trained_on():
    (cell,) = cells("question-pair", rest=["--test_ratio", "0.2"])
    assert cell.settings.held_out == {"test": 0.2}


@pytest.mark.parametrize(
    ("name", "value"), [("test_file", "a"), ("predict_file", "a"), ("do_eval", "true"), ("do_train", "false")]
)
def test_settings_that_a_trial_cannot_have(name, value):
    with pytest.raises(ConfigError, match=f"--{name}: "):
        cells("question-pair", rest=[f"--{name}", value])


@pytest.mark.parametrize(
    ("scores", "updates", "expected"),
    [
        ({}, 10, {}),
        ({1: 0.5}, 10, {10: 0.5}),
        ({1: 0.5, 3: 0.4, 4: 0.6}, 10, {10: 0.5, 20: 0.5, 30: 0.5, 40: 0.6}),
        ({250: 0.7, 500: 0.8}, 1000, {30: 0.7, 40: 0.7, 50: 0.8}),  # nothing is known of 20 %
        ({1: 0.2, 3: 0.3}, 3, {40: 0.2, 50: 0.2, 60: 0.2, 70: 0.2, 80: 0.2, 90: 0.2}),
        ({999: 0.1}, 1000, {}),
    ],
)
def test_scores_by_the_share_of_the_run(scores, updates, expected):
    assert points_of(scores, updates) == expected


def test_the_folder_of_a_trial(tmp_path):
    assert read_points(tmp_path, "acc") == {}
    (tmp_path / "settings.json").write_text('{"updates": 4}')
    (tmp_path / "resume").mkdir()
    scores = {"1": {"dev": {"acc": 0.5}}, "2": {"test": {"acc": 0.9}}}
    (tmp_path / "resume" / "scores.json").write_text(json.dumps({"scores": scores}))
    assert read_points(tmp_path, "acc") == {}  # the next points come with the next score on dev
    scores["2"] = {"dev": {"acc": 0.4}}
    (tmp_path / "resume" / "scores.json").write_text(json.dumps({"scores": scores}))
    assert read_points(tmp_path, "acc") == {30: 0.5, 40: 0.5, 50: 0.5}
    with pytest.raises(CheckpointError, match=r"eval_results\.json has no acc"):
        read_score(tmp_path, "acc")
    (tmp_path / "eval_results.json").write_text('{"scores": {}, "selected": {"step": 2, "dev": {"acc": 0.4}}}')
    assert read_score(tmp_path, "acc") == 0.4
    (tmp_path / "checkpoint-2").mkdir()
    tidy(tmp_path, keep_checkpoints=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint-2", "eval_results.json", "settings.json"]
    tidy(tmp_path, keep_checkpoints=False)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["eval_results.json", "settings.json"]
