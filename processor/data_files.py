"""Digests of data files: whether they are the published ones, and whether they have changed."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

from processor.readers.text_files import read_content
from src.common.errors import DataError, list_problems
from src.common.files import find_archive, find_stand_in
from src.data.task import DataFile, PublishedFile

DATA_DIR = "data"  # the only folder that runs download into
NOT_PUBLISHED: Mapping[str, PublishedFile] = {}


def git_blob(content: bytes) -> str:
    """Return the id that git gives to a file's content, 40 hex digits."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def is_published(path: Path, content: bytes, published: Mapping[str, PublishedFile]) -> bool:
    """Return whether a file has the content of the published file of its name."""
    return path.name in published and published[path.name].git_blob == git_blob(content)


def describe_files(paths: Mapping[str, Path], published: Mapping[str, PublishedFile] = NOT_PUBLISHED) -> dict[str, DataFile]:
    """Hash the data file of each split. published: the task's published files, by name.

    Raises DataError naming every file that is missing, empty or not data at all.
    """
    files, problems = {}, []
    for split, path in paths.items():
        if path.is_dir():
            problems.append(f"{path} ({split}): is a folder; name a file. If the folder holds parts of one, join them first")
            continue
        content = read_content(path) if path.is_file() else None
        if not content:
            problems.append(f"{path} ({split}): {'no such file' if content is None else 'the file is empty'}")
            continue
        if stand_in := find_stand_in(content) or find_archive(content):
            problems.append(f"{path} ({split}) {stand_in}")
            continue
        status = "published" if is_published(path, content, published) else "other"
        files[split] = DataFile(path, hashlib.sha256(content).hexdigest(), status)
    if problems:
        title = "data files are missing or unusable. data/README.md lists which file belongs where; --data_dir is another folder:"
        raise DataError(list_problems(title, problems))
    return files
