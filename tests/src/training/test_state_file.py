import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from src.common.files import DAMAGE
from src.training.state_file import read_state, write_state


def contents(path):
    """The tensors and the JSON object of a state file."""
    with safe_open(path, "pt") as file:
        return {key: file.get_tensor(key).tolist() for key in file.keys()}, json.loads(file.metadata()["facts"])  # noqa: SIM118


def test_tensors_and_the_rest_are_stored_apart_and_read_together(tmp_path):
    weights = {"a.b": torch.ones(3, 2)[:, 0], "c": torch.zeros(())}  # the first is not contiguous
    state = {"step": 5, "model": weights, "meter": {"loss": torch.ones(1), "rows": 3}, "scaler": None, "scores": {}}
    write_state(tmp_path / "state", state)
    tensors, rest = contents(tmp_path / "state")
    assert tensors == {"model.a.b": [1, 1, 1], "model.c": 0, "meter.loss": [1]}
    assert rest == {"step": 5, "meter": {"rows": 3}, "scaler": None, "scores": {}}
    read = read_state(tmp_path / "state")
    assert torch.equal(read["model"].pop("a.b"), weights.pop("a.b"))
    assert read == state


def test_rejects_a_file_without_the_json_object(tmp_path):
    save_file({"model.a": torch.zeros(1)}, tmp_path / "state")
    with pytest.raises(DAMAGE):
        read_state(tmp_path / "state")


def mapped(path):
    """Whether this process has a part of a file in its memory."""
    return str(path) in Path("/proc/self/maps").read_text()


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="needs Linux's list of mapped files")
def test_what_is_read_does_not_keep_the_file_in_use(tmp_path):
    path = tmp_path / "state"
    write_state(path, {"model": {"a": torch.ones(5000)}})
    with safe_open(path, "pt") as file:
        part = file.get_tensor("model.a")
        assert mapped(path)
    del part, file
    state = read_state(path)
    assert torch.equal(state["model"]["a"], torch.ones(5000))
    assert not mapped(path)
