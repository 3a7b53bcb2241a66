"""Files that are whole or absent: written beside their place, put on the disk, then given their name; reading, digests, locks."""

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from safetensors import SafetensorError, safe_open

from src.errors import CheckpointError

# What comes out of reading a file that does not hold what it should.
DAMAGE = (SafetensorError, LookupError, TypeError, ValueError, AttributeError, RuntimeError)


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file; empty where there is no such file. Raises CheckpointError where it is damaged."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except ValueError as error:
        raise damaged(path, error) from None
    if not isinstance(content, dict):
        raise damaged(path, TypeError("no JSON object"))
    return content


def read_facts(state_file: Path) -> dict[str, Any]:
    """What stands in a kept state besides tensors. Raises CheckpointError where it is damaged."""
    try:
        with safe_open(state_file, "numpy") as file:
            return dict(json.loads(file.metadata()["facts"]))
    except DAMAGE as error:
        raise damaged_state(state_file, error) from None


def damaged(path: Path, error: Exception) -> CheckpointError:
    """What is said of a record that does not hold what it should."""
    return CheckpointError(f"{path} is damaged ({type(error).__name__}: {error}). Move its folder away and run again.")


def damaged_state(path: Path, error: Exception) -> CheckpointError:
    """What is said of a state that does not hold what it should."""
    reason = " ".join(f"{type(error).__name__}: {error}".split())
    return CheckpointError(
        f"{path} is damaged or of another model ({reason}). This run cannot go on: say --resume false, which keeps its folder "
        "under another name and starts afresh."
    )


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write an object as indented JSON, whole or not at all."""
    write_lines(path, [json.dumps(content, ensure_ascii=False, indent=2)])


def write_lines(path: Path, lines: Iterable[str], shared: bool = False) -> None:
    """Write lines as UTF-8, each with a newline at its end; see `replacing`."""
    with replacing(path, shared) as stream:
        stream.writelines((line + "\n").encode() for line in lines)


def write_bytes(path: Path, content: bytes, shared: bool = False) -> None:
    """Write a file's content; see `replacing`."""
    with replacing(path, shared) as stream:
        stream.write(content)


@contextmanager
def replacing(path: Path, shared: bool) -> Iterator[BinaryIO]:
    """Open a temporary file that becomes `path` when all of it is on the disk, so that `path` is never half-written.

    Missing parent folders are created. `shared`: other processes may write the same file; the last one wins.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial" if shared else f".{path.name}.partial")
    try:
        with open(temporary, "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    except OSError as error:
        error.filename = error.filename or str(path)  # a write that fails does not say where
        raise
    finally:
        temporary.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Do not return before a file's content, or a folder's list of names, is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove(path: Path) -> None:
    """Remove a file, or a folder and all that is in it, where there is one."""
    if path.is_dir() and not path.is_symlink():
        with suppress(FileNotFoundError):  # another process removes it, too
            shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def digest_folder(folder: Path) -> str:
    """sha256 over the names and contents of the files right in `folder`, as hex digits."""
    digest = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        if path.is_file():
            with open(path, "rb") as stream:
                digest.update(f"{path.name}\0{hashlib.file_digest(stream, 'sha256').hexdigest()}\n".encode())
    return digest.hexdigest()


def hold(lock: Path, what: str) -> int:
    """Hold the file at `lock` until this process ends, however it ends; the descriptor that holds it.

    Raises CheckpointError, naming the process, where another one is at work in `what`.
    """
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.read(descriptor, 20).decode()
        os.close(descriptor)
        raise CheckpointError(f"process {holder} is at work in {what}. Wait for it, or use another folder.") from None
    os.truncate(descriptor, 0)
    os.write(descriptor, str(os.getpid()).encode())
    return descriptor
