"""Digests of data files, and the digests of the published files."""

import hashlib
import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from src.data import DataFile
from src.errors import DataError, list_problems
from src.file_kinds import find_archive, find_stand_in


@cache
def data_file_digests() -> tuple[str, dict[str, dict[str, Any]]]:
    """Return the address of the published files, and <task>/<file> -> `git_blob`, `rows` and, if it is known, `sha256`."""
    content = json.loads(Path(__file__).with_name("data_files.json").read_text(encoding="utf-8"))
    return content["url"], content["files"]


def git_blob(content: bytes) -> str:
    """Return the id that git gives to a file's content, 40 hex digits."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def describe_files(paths: Mapping[str, Path]) -> dict[str, DataFile]:
    """Hash the data file of each split. Raises DataError naming every file that is missing, empty or not data at all."""
    _, published = data_file_digests()
    files, problems = {}, []
    for split, path in paths.items():
        content = path.read_bytes() if path.is_file() else None
        if not content:
            problems.append(f"{path} ({split}): {'no such file' if content is None else 'the file is empty'}")
            continue
        if stand_in := find_stand_in(content) or find_archive(content):
            problems.append(f"{path} ({split}) {stand_in}")
            continue
        blob_id = git_blob(content)
        status = "published" if published.get(f"{path.parent.name}/{path.name}", {}).get("git_blob") == blob_id else "other"
        files[split] = DataFile(path, hashlib.sha256(content).hexdigest(), status)
    if problems:
        title = "data files are missing or unusable. data/README.md lists which file belongs where; --data_dir is another folder:"
        raise DataError(list_problems(title, problems))
    return files
