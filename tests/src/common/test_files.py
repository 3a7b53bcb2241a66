import errno
import os
import stat

import pytest

from src.common.errors import CheckpointError
from src.common.files import (
    _warn_cannot_sync,
    atomic_write,
    hold,
    name_holder,
    read_json,
    without_folders,
    write_bytes,
    write_json,
    write_lines,
)


def test_a_failed_write_leaves_the_previous_file(tmp_path):
    path = tmp_path / "a" / "b.txt"
    write_lines(path, ["한", "둘"])
    assert path.read_bytes() == "한\n둘\n".encode()

    def lines():
        yield "셋"
        raise OSError(28, "disk full")

    with pytest.raises(OSError, match=r"b\.txt"):
        write_lines(path, lines())
    assert [file.name for file in path.parent.iterdir()] == ["b.txt"]
    assert path.read_bytes() == "한\n둘\n".encode()


def test_writes_bytes(tmp_path):
    write_bytes(tmp_path / "a" / "b.bin", b"\0\n\r")
    assert (tmp_path / "a" / "b.bin").read_bytes() == b"\0\n\r"


def test_a_file_gets_its_name_when_it_is_complete(tmp_path):
    with atomic_write(tmp_path / "b.txt") as temporary:
        temporary.write_text("new")
        assert [file.name for file in tmp_path.iterdir()] == [temporary.name] == [".b.txt.partial"]
    assert [file.name for file in tmp_path.iterdir()] == ["b.txt"]


def test_several_processes_can_write_a_shared_file(tmp_path):
    (tmp_path / ".b.txt.partial").write_text("half of another process")
    write_lines(tmp_path / "b.txt", ["mine"], shared=True)
    assert (tmp_path / "b.txt").read_text() == "mine\n"
    assert (tmp_path / ".b.txt.partial").read_text() == "half of another process"


def test_reads_what_it_writes_as_json(tmp_path):
    write_json(tmp_path / "a.json", {"b": 1.5, "a": "한"})
    assert (tmp_path / "a.json").read_text() == '{\n  "b": 1.5,\n  "a": "한"\n}\n'
    assert read_json(tmp_path / "a.json") == {"b": 1.5, "a": "한"}
    assert read_json(tmp_path / "none.json") == {}


def fail_on_folders(number):
    """os.fsync of a file system that cannot flush folders."""
    fsync = os.fsync

    def limited(descriptor):
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(number, os.strerror(number))
        fsync(descriptor)

    return limited


def test_a_file_system_that_cannot_flush_folders_costs_one_warning(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(os, "fsync", fail_on_folders(errno.EINVAL))
    _warn_cannot_sync.cache_clear()
    for name in ("a", "b"):
        write_lines(tmp_path / name, [name])
    assert [path.read_text() for path in sorted(tmp_path.iterdir())] == ["a\n", "b\n"]
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "Invalid argument" in caplog.text


def test_a_disk_error_while_flushing_is_not_ignored(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", fail_on_folders(errno.EIO))
    with pytest.raises(OSError, match="Input/output error"):
        write_lines(tmp_path / "a", ["a"])


@pytest.mark.parametrize("content", [b"{", b"[1]", b"\xff"])
def test_rejects_damaged_json(tmp_path, content):
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"a\.json is damaged"):
        read_json(tmp_path / "a.json")


def test_a_lock_names_its_last_holder(tmp_path):
    """Also after a holder with a longer number."""
    lock = hold(tmp_path / "lock", "x")
    try:
        for process in (123456, 789):
            name_holder(lock, process)
            with pytest.raises(CheckpointError, match=f"process {process} is using x"):
                hold(tmp_path / "lock", "x")
    finally:
        os.close(lock)


def test_absolute_paths_lose_their_folders():
    values = {"a": ["/x/y.json (tasks.nsmc)", "x/y", 5, None], "/key": True}
    assert without_folders(values) == {"a": ["y.json (tasks.nsmc)", "x/y", 5, None], "/key": True}
