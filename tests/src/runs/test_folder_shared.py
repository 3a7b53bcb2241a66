"""Folders that are not the run's alone: other users read its files, and a file system may refuse to remove them."""

import errno
import os
import shutil
import stat

import pytest
import torch
from safetensors.torch import save_file

from src.common.errors import EnvironmentFailure
from src.runs import folder as run_folder
from src.training.state_file import write_state
from tests.src.run_folders import save, start


@pytest.fixture(params=[0o002, 0o027])
def umask(request):
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def test_every_file_has_the_mode_that_the_umask_asks_for(settings, tmp_path, umask):
    run = start(settings)
    with run.new_checkpoint(5) as folder:
        save_file({"a": torch.zeros(1)}, folder / "model.safetensors")
        assert stat.S_IMODE((folder / "model.safetensors").stat().st_mode) == 0o600  # as safetensors leaves it
    with run.new_state() as path:
        write_state(path, {"model": {"a": torch.zeros(1)}})
    run.log({"step": 1})
    modes = {path.relative_to(tmp_path): stat.S_IMODE(path.stat().st_mode) for path in tmp_path.rglob("*") if path.is_file()}
    assert {path.name for path in modes} >= {"model.safetensors", "state.safetensors", "settings.json", "log.jsonl", ".run.lock"}
    assert set(modes.values()) == {0o666 & ~umask}, modes


def test_a_state_that_cannot_be_removed_costs_a_finished_run_a_warning(settings, monkeypatch, caplog):
    """As on network disks, which keep a file that another process has open."""
    run = start(settings)
    save(run, 5)
    with run.new_state() as path:
        path.write_text("state")
    run.finish_training({})

    def refuse(folder):
        raise OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY), str(folder))

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", refuse)
        run.finish(1.0, 1.0)
    (record,) = [record for record in caplog.records if record.levelname == "WARNING"]
    assert "resume cannot be removed: Directory not empty" in record.getMessage()
    assert (run.folder / "eval_results.json").is_file()
    run.unlock()
    run.remove_state()
    assert not (run.folder / "resume").exists()


@pytest.mark.parametrize(("number", "advice"), [(errno.ENOSPC, "disk space"), (errno.EACCES, "right to use it")])
def test_the_advice_fits_the_error(settings, monkeypatch, number, advice):
    run = start(settings)

    def fail(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(run_folder.shutil, "copyfile", fail)
    with pytest.raises(EnvironmentFailure) as caught, run.new_checkpoint(5):
        pass
    assert advice in str(caught.value)
    assert ("space" in str(caught.value)) == (number == errno.ENOSPC)
