"""Trials: command lines that never open a test file."""

import pytest

from processor.definition import TASKS
from src.common.errors import ConfigError
from src.grid.cells import make_trial_cells
from src.pipeline import find_files
from tests.conftest import SAMPLE
from tests.src.grid.helpers import request_for


def trial_cells(tasks, dev_ratio=None, rest=()):
    return make_trial_cells(request_for("tiny", tasks, "42", rest), dev_ratio)


def test_a_share_of_train_is_dev_for_tasks_without_a_dev_file_only():
    made = trial_cells("question-pair,nsmc,paws", "0.1")
    assert [(cell.task, cell.settings.dev_ratio) for cell in made] == [("question-pair", 0.0), ("nsmc", 0.1), ("paws", 0.0)]
    assert all(not cell.settings.test_file and not cell.settings.do_eval and cell.settings.has_dev for cell in made)
    with pytest.raises(ConfigError, match=r"^nsmc, naver-ner: .*--dev_ratio"):
        trial_cells("question-pair,nsmc,naver-ner")
    with pytest.raises(ConfigError, match="dev_ratio"):
        trial_cells("nsmc", "1.5")


def test_the_files_of_a_trial_are_train_and_dev():
    (cell,) = trial_cells("question-pair", rest=["--data_dir", str(SAMPLE)])
    assert find_files(cell.settings, TASKS["question-pair"]).keys() == {"train", "dev"}


def test_a_held_out_test_set_is_not_trained_on():
    (cell,) = trial_cells("question-pair", rest=["--test_ratio", "0.2"])
    assert cell.settings.held_out == {"test": 0.2}


@pytest.mark.parametrize(
    ("name", "value"), [("test_file", "a"), ("predict_file", "a"), ("do_eval", "true"), ("do_train", "false")]
)
def test_settings_that_a_trial_cannot_have(name, value):
    with pytest.raises(ConfigError, match=f"--{name}: "):
        trial_cells("question-pair", rest=[f"--{name}", value])
