"""Atomic writes, JSON files, digests, locks, and files that stand in for others. A file written here is complete or absent."""

import errno
import fcntl
import hashlib
import json
import logging
import os
import shutil
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from src.common.errors import MACHINE_ERRORS, MAX_QUOTED, CheckpointError, EnvironmentFailure, shorten
from src.common.strict_json import load_json

logger = logging.getLogger(__name__)

PID_WIDTH = 20  # characters of a process's number in a lock file
PARTIAL = ".partial"  # ends the name of a file or folder that is still being written, or that is being removed
# What fsync answers on file systems that do not support it, such as some network and FUSE file systems.
CANNOT_SYNC = {errno.EINVAL, errno.ENOTSUP, errno.ENOSYS, errno.EBADF, errno.EACCES, errno.EPERM}

# Errors from reading a file whose content is not what it should be.
DAMAGE = (SafetensorError, LookupError, TypeError, ValueError, AttributeError, RuntimeError)

# What a file begins with, in lower case -> what it is, and what to do.
STAND_INS = {
    b"version https://git-lfs": "is a git-lfs pointer, not the file. Run `git lfs pull` in its folder, or download it again.",
    b"<!doctype html": "is a web page, not the file itself. Download it again: the address of the file, not of its page.",
    b"<html": "is a web page, not the file itself. Download it again: the address of the file, not of its page.",
}
SAVE_AS_CSV = "Open it, and save its table as CSV UTF-8."
ARCHIVES = {
    b"pk\x03\x04": "is a zip archive. Unpack it.",
    b"\x1f\x8b": "is compressed by gzip. Unpack it.",
    b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1": f"is an old Excel (.xls), Word or Hangul file. {SAVE_AS_CSV}",
}
# What a zip archive has in it, by name -> what it is.
OFFICE = {
    b"xl/workbook.": f"is an Excel file. {SAVE_AS_CSV}",
    b"opendocument.spreadsheet": f"is an OpenDocument spreadsheet. {SAVE_AS_CSV}",
    b"word/document.xml": "is a Word file. Copy its table into a spreadsheet, and save it as CSV UTF-8.",
}


def is_file(path: Path) -> bool:
    """Return whether there is a file at `path`, whatever is wrong with the path."""
    with suppress(OSError):  # the name is too long
        return path.is_file()
    return False


def absence(*paths: Path) -> str:
    """Return why none of the paths is a file."""
    for path in paths:
        with suppress(OSError):
            if path.is_dir():
                return f"{path} is a folder; name a file. If the folder holds parts of one, join them first"
    places = " and ".join(dict.fromkeys(shorten(str(path), MAX_QUOTED) for path in paths))
    return f"no such file; looked for {places}"


def read_json(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file, empty if there is no such file. Raises CheckpointError if the file is damaged."""
    try:
        content = load_json(path)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except ValueError as error:
        raise damaged(path, error) from None
    if not isinstance(content, dict):
        raise damaged(path, TypeError("not a JSON object"))
    return content


def damaged(path: Path, error: Exception) -> CheckpointError:
    """Return the error for a file of a run that cannot be read."""
    return CheckpointError(f"{path} is damaged ({type(error).__name__}: {error}). Move its folder away and run again.")


def damaged_state(path: Path, error: Exception) -> CheckpointError:
    """Return the error for a saved state that cannot be loaded."""
    reason = " ".join(f"{type(error).__name__}: {error}".split())
    return CheckpointError(
        f"{path} is damaged or of another model ({reason}). This run cannot resume: pass --resume false to start over; "
        "the folder is kept under another name."
    )


@contextmanager
def atomic_write(path: Path, shared: bool = False) -> Iterator[Path]:
    """Yield a temporary path to write to; when the block ends, flush that file to disk and rename it to `path`.

    If the block raises, `path` stays as it was. Creates missing parent folders. With `shared`, several processes may write
    the same file at once; the last one wins.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}{PARTIAL}" if shared else f".{path.name}{PARTIAL}")
    try:
        yield temporary
        set_usual_mode(temporary)
        sync(temporary)
        temporary.replace(path)
        sync(path.parent)
    except OSError as error:
        error.filename = error.filename or str(path)  # a failed write names no file
        raise
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Raise EnvironmentFailure if `path` cannot be written."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        reason = " ".join(str(error).split())
        advice = MACHINE_ERRORS.get(getattr(error, "errno", None) or 0, "Check the disk.")
        raise EnvironmentFailure(
            f"{path} cannot be written: {reason}. {advice} Earlier files are intact: rerun the same command."
        ) from error


def write_bytes(path: Path, content: bytes, shared: bool = False) -> None:
    """Write a file atomically, see atomic_write."""
    with atomic_write(path, shared) as temporary:
        temporary.write_bytes(content)


def write_lines(path: Path, lines: Iterable[str], shared: bool = False) -> None:
    r"""Write lines of text atomically, each followed by "\n", see atomic_write."""
    with atomic_write(path, shared) as temporary, open(temporary, "w", encoding="utf-8", newline="\n") as stream:
        stream.writelines(line + "\n" for line in lines)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write an object as indented JSON, atomically."""
    write_lines(path, [json.dumps(content, ensure_ascii=False, indent=2)])


def set_usual_mode(path: Path) -> None:
    """Give a file the mode 0666 less the umask: safetensors lets only the owner read the files that it creates.

    A file system that does not allow that costs nothing: the file is as good as it can be there.
    """
    mask = os.umask(0o022)  # which can only be read by setting it
    os.umask(mask)
    with suppress(OSError):
        path.chmod(0o666 & ~mask)


def sync(path: Path) -> None:
    """Flush a file's content, or a folder's list of names, to disk.

    If the file system cannot do that, a warning is logged, once: files are still complete or absent, unless the machine fails.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in CANNOT_SYNC:
            raise
        _warn_cannot_sync(str(error.strerror))
    finally:
        os.close(descriptor)


@cache
def _warn_cannot_sync(reason: str) -> None:
    logger.warning("the file system cannot flush to disk (%s): a power failure may cost the files written last", reason)


def try_to_write(path: Path) -> None:
    """Write a file in a folder at `path`, then rename and remove the folder, as runs do with checkpoints.

    Raises OSError if the file system cannot do one of them.
    """
    renamed = path.with_name(f"{path.name}-2")
    remove(path)
    remove(renamed)
    write_bytes(path / "file", b"1")
    path.rename(renamed)
    remove(renamed)


def remove(path: Path) -> None:
    """Remove a file, or a folder with its content, if it exists."""
    if path.is_dir() and not path.is_symlink():
        with suppress(FileNotFoundError):  # another process removes it, too
            shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def remove_at_once(folder: Path) -> None:
    """Remove a folder, after renaming it: an interrupted removal must not leave half of it under its own name."""
    doomed = folder.with_name(f".{folder.name}{PARTIAL}")
    remove(doomed)
    folder.rename(doomed)
    remove(doomed)


def without_folders(value: Any) -> Any:
    """Return a JSON value with the last part of every absolute path in place of the path."""
    if isinstance(value, dict):
        return {name: without_folders(part) for name, part in value.items()}
    if isinstance(value, list):
        return [without_folders(part) for part in value]
    return Path(value).name if isinstance(value, str) and Path(value).is_absolute() else value


def digest_folder(folder: Path, leave_out: Collection[str] = ()) -> str:
    """Return a sha256 (hex digits) over the names and contents of the files directly in `folder` but those to leave out."""
    digest = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        if path.is_file() and path.name not in leave_out:
            with open(path, "rb") as stream:
                digest.update(f"{path.name}\0{hashlib.file_digest(stream, 'sha256').hexdigest()}\n".encode())
    return digest.hexdigest()


def hold(lock: Path, what: str) -> int:
    """Lock the file at `lock` and return the descriptor that holds the lock, until it is closed or this process ends.

    Raises CheckpointError, naming the process, if another process uses `what`.
    """
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.read(descriptor, PID_WIDTH).decode().strip()
        os.close(descriptor)
        raise CheckpointError(f"process {holder} is using {what}. Wait for it, or use another folder.") from None
    name_holder(descriptor, os.getpid())
    return descriptor


def name_holder(lock: int, process: int) -> None:
    """Write the number of the process that holds a lock into its file, over that of an earlier one, which may be longer."""
    os.pwrite(lock, f"{process:<{PID_WIDTH}}".encode(), 0)


def find_stand_in(content: bytes) -> str:
    """Return what is in a file instead of its content, and what to do: "is a git-lfs pointer ..."; "" for any other file.

    content: the file, or at least its first 100 bytes.
    """
    start = content[:1000].removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    return next((meaning for beginning, meaning in STAND_INS.items() if start.startswith(beginning)), "")


def find_archive(content: bytes) -> str:
    """Return that a file is an archive, such as one of Excel, and what to do; "" for any other file.

    content: the file. Files of weights may well be archives.
    """
    if content.startswith(b"PK\x03\x04") and (office := next((what for name, what in OFFICE.items() if name in content), "")):
        return office
    return next((meaning for beginning, meaning in ARCHIVES.items() if content[:10].lower().startswith(beginning)), "")
