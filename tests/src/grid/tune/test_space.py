"""Search spaces: what a file may say, and that every mistake in it is reported."""

import json

import pytest

from src.common.errors import ConfigError
from src.grid.tune.space import digest, for_hidden_size, is_tunable, read_space
from src.settings.layers import unusable
from src.settings.schema import Settings
from tests.conftest import ROOT

DEFAULT = ROOT / "config" / "tuning" / "space.json"


@pytest.fixture
def space(tmp_path):
    """space({...}) writes a space and returns its path."""

    def write(content):
        path = tmp_path / "space.json"
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return path

    return write


def error_of(path, **options):
    with pytest.raises(ConfigError) as caught:
        read_space(path, **options)
    return str(caught.value)


def test_the_default_space_by_the_size_of_the_model():
    space = read_space(DEFAULT)
    assert for_hidden_size(space, 256)["learning_rate"] == {"low": 3e-5, "high": 5e-4, "log": True}
    assert for_hidden_size(space, 768)["learning_rate"] == {"low": 1e-5, "high": 1e-4, "log": True}
    assert digest(for_hidden_size(space, 384)) != digest(for_hidden_size(space, 385))
    assert for_hidden_size(space, 768).keys() == space.keys() and not unusable("learning_rate", 1e-4)


@pytest.mark.parametrize(
    ("name", "entry", "expected"),
    [
        ("learning_rat", [1e-5, 1e-4], "Did you mean"),
        ("seed", [1, 2], "cannot be searched"),
        ("train_file", ["a", "b"], "cannot be searched"),
        ("test_file", ["a", "b"], "cannot be searched"),
        ("evaluate_test_during_training", [True, False], "cannot be searched"),
        ("ckpt_dir", ["a", "b"], "cannot be searched"),
        ("threshold", [0.4, 0.5], "cannot be searched"),
        ("learning_rate", [1e-5], "at least two different"),
        ("learning_rate", [1e-5, 1e-5], "at least two different"),
        ("learning_rate", [], "at least two different"),
        ("learning_rate", [1e-5, "1e-4"], '"1e-4"'),
        ("learning_rate", 1e-5, '"low"'),
        ("learning_rate", {"low": 1e-5}, '"high"'),
        ("learning_rate", {"low": 1e-5, "high": 1e-4, "logarithmic": True}, '"log"'),
        ("learning_rate", {"low": 1e-4, "high": 1e-5}, "is empty"),
        ("learning_rate", {"low": 1e-5, "high": 1e-5}, "is empty"),
        ("learning_rate", {"low": 0, "high": 1e-4}, "greater than 0"),
        ("learning_rate", {"low": True, "high": 1e-4}, "true"),
        ("learning_rate", {"low": 1e-5, "high": 1e-4, "log": "yes"}, '"yes"'),
        ("learning_rate", {"low": 1e-5, "high": 1e-4, "log": True, "step": 1e-5}, "no step"),
        ("weight_decay", {"low": 0.0, "high": 0.1, "log": True}, "low should be above 0"),
        ("weight_decay", {"low": 0.0, "high": 0.1, "step": 0}, "step = 0"),
        ("train_batch_size", {"low": 8, "high": 32.5}, "32.5"),
        ("train_batch_size", {"low": 8, "high": 32, "step": 0.5}, "whole number"),
        ("do_lower_case", {"low": 0, "high": 1}, "cannot be searched"),
        ("class_weights", {"low": 0, "high": 1}, "valid string"),
        ("learning_rate", {"base": [1e-5, 1e-4], "small": [1]}, "learning_rate, small"),
        ("max_seq_len", [4, 128], "greater than or equal to 8"),
    ],
)
def test_wrong_entries(space, name, entry, expected):
    message = error_of(space({name: entry}))
    assert expected in message and name in message and "space.json" in message


def test_all_mistakes_at_once(space):
    message = error_of(space({"learning_rate": {"low": 2, "high": 1}, "sed": [1, 2], "weight_decay": [0.1]}))
    assert all(name in message for name in ("learning_rate", "'sed'", "weight_decay"))


@pytest.mark.parametrize("content", ["", "[]", "{", '{"a": 1'])
def test_files_that_are_no_space(space, content):
    assert "space.json" in error_of(space(content))


def test_no_file(tmp_path):
    assert f"{tmp_path}/none.json" in error_of(tmp_path / "none.json")


def test_settings_of_the_command_line_leave_the_space(space):
    path = space({"num_train_epochs": [3, 5], "weight_decay": [0.0, 0.1], "train_batch_size": {"low": 8, "high": 32, "step": 8}})
    assert read_space(path, ["weight_decay", "data_dir"]).keys() == {"num_train_epochs", "train_batch_size"}
    assert read_space(path, ["max_steps"]).keys() == {"weight_decay", "train_batch_size"}  # it replaces the epochs
    assert "nothing to search" in error_of(path, fixed=["max_steps", "weight_decay", "train_batch_size"])


def test_what_can_be_searched():
    tunable = {name for name in Settings.model_fields if is_tunable(name)}
    assert {"learning_rate", "max_seq_len", "adam_epsilon", "class_weights", "max_steps"} <= tunable
    assert not tunable & {"task", "seed", "dev_ratio", "revision", "padding", "do_eval", "logging_steps", "max_answer_length"}
