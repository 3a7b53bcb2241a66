"""What is found before torch is imported."""

import json
import os

import pytest

from processor.definition import TASKS
from src.common.errors import ConfigError, EnvironmentFailure, ModelError
from src.runs.early import check_early
from src.runs.status import find_run
from tests.commands import run_command
from tests.src.run_folders import FILES


def check(settings, task="nsmc"):
    check_early(find_run(settings, TASKS[task], FILES, digest=lambda folder: "digest"), TASKS[task].kind)


@pytest.mark.parametrize(("positions", "length", "fits"), [(64, 64, True), (64, 65, False), (-1, 512, True), (None, 512, True)])
def test_a_row_must_fit_into_the_positions_of_a_folder(settings, tmp_path, positions, length, fits):
    (tmp_path / "config.json").write_text(json.dumps({"max_position_embeddings": positions}))
    chosen = settings(model_name_or_path=tmp_path, max_seq_len=length)
    if fits:
        check(chosen)
    else:
        with pytest.raises(ModelError, match=r"max_seq_len = 65 \(command line\).*at most 64 tokens.*--max_seq_len 64"):
            check(chosen)


@pytest.mark.parametrize("content", ["{", "[]", '{"max_position_embeddings": "many"}'])
def test_what_is_wrong_with_a_config_is_told_when_it_is_loaded(settings, tmp_path, content):
    (tmp_path / "config.json").write_text(content)
    check(settings(model_name_or_path=tmp_path))
    check(settings(model_name_or_path="owner/name"))


@pytest.mark.parametrize(("stride", "fits"), [(97, True), (98, False)])
def test_windows_skip_no_tokens(settings, stride, fits):
    """128 less 28 of the question less three special tokens."""
    chosen = settings("korquad", max_seq_len=128, max_query_length=28, doc_stride=stride)
    if fits:
        check(chosen, "korquad")
    else:
        with pytest.raises(ConfigError, match=r"doc_stride = 98 .*least 3 special tokens .*room for 97 "):
            check(chosen, "korquad")
    check(settings(max_seq_len=128, max_query_length=28, doc_stride=stride))  # it has no meaning there


def test_the_folder_must_be_one_that_can_be_written(settings, tmp_path, monkeypatch):
    (tmp_path / "ckpt").mkdir()
    check(settings())
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(EnvironmentFailure, match=r"ckpt/run cannot be written: Permission denied\. .*--ckpt_dir"):
        check(settings())
    check(settings(do_train=False, do_eval=False))
    monkeypatch.undo()
    (tmp_path / "ckpt").rmdir()
    (tmp_path / "ckpt").write_text("a file")
    with pytest.raises(EnvironmentFailure, match="ckpt is not a folder"):
        check(settings())


def test_nothing_is_loaded_and_made_before(tmp_path):
    """A message before torch is imported: here, it cannot be."""
    (tmp_path / "torch.py").write_text("raise SystemExit('torch is imported')")
    places = ["--ckpt_dir", str(tmp_path / "new" / "ckpt"), "--data_dir", "data/sample", "--config_file", "tiny.json"]
    done = run_command("run_seq_cls.py", "--task", "nsmc", *places, "--max_seq_len", "600", env={"PYTHONPATH": str(tmp_path)})
    assert (done.returncode, done.stdout) == (2, "")
    assert "at most 512 tokens" in done.stderr
    assert not (tmp_path / "new").exists()
