"""The check of all data files before a model is loaded: are they well-formed, which texts occur twice, can parts be held out?

What it finds is kept beside the features: a file is parsed for it once, not in every run.
"""

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from processor.features import no_garbage_collection
from processor.hold_out import connect
from processor.inputs import require_label
from processor.kinds import KINDS, TABLES
from processor.label_checks import MISSING, some_places
from processor.readers.tables import DataRow, format_of, read_records
from src.common.errors import ConfigError, DataError, quote
from src.common.files import write_bytes
from src.data.hangul import compose_rows
from src.data.task import FEATURE_FIELDS, DataFile, Rows, Task
from src.settings.schema import Settings

logger = logging.getLogger(__name__)

FOLDER = ".rows"  # in that of the features, for what is known about rows
VERSION = 1  # raise it with every change of what is checked or kept: what other versions have kept is not read
DAMAGE = (SafetensorError, OSError, LookupError, TypeError, ValueError)


def check_files(files: Mapping[str, DataFile], settings: Settings, task: Task) -> dict[str, DataFile]:
    """Return the data files with what is known about their rows, and log what a person should know about them.

    task: with its labels, see processor.labels. Raises DataError for malformed files, ConfigError for a share of the training
    file that cannot be held out.
    """
    checked = {name: replace(file, rows=_known_rows(name, file, settings, task)) for name, file in files.items()}
    for name, file in checked.items():
        for note in file.rows.notes if file.rows else ():
            logger.warning("%s: %s: %s", name, file.path, note)
    if settings.held_out:
        _require_shares(checked["train"], settings, task)
    return checked


def _known_rows(name: str, file: DataFile, settings: Settings, task: Task) -> Rows:
    """Return what was kept about the rows of a file or, the first time, what reading them shows."""
    in_file = task.of_file(file.path)
    fields = {field: getattr(in_file, field) for field in (*FEATURE_FIELDS, "group")}
    read_as = [settings.strict_data, settings.version_2_with_negative, name == "train"]
    content = [VERSION, file.sha256, format_of(file.path, task), fields, *read_as]
    digest = hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]
    path = Path(settings.feature_cache_dir) / FOLDER / f"{settings.task}-{name}-{digest}.safetensors"
    with suppress(*DAMAGE), safe_open(path, framework="numpy") as stored:
        notes = tuple(json.loads(stored.metadata()["notes"]))
        return Rows(stored.get_tensor("texts"), stored.get_tensor("groups"), notes)
    with no_garbage_collection():
        rows = describe_rows(file.path, read_rows(name, file.path, settings, task), task)
    with suppress(OSError):  # a folder that cannot be written costs time alone
        tensors = {"texts": rows.texts, "groups": rows.groups}
        write_bytes(path, save(tensors, {"notes": json.dumps(rows.notes)}), shared=True)
    return rows


def read_rows(name: str, path: Path, settings: Settings, task: Task) -> list[DataRow]:
    """Return the rows of the file that become the examples of the split `name`. Raises DataError if it is malformed."""
    kind = KINDS[task.kind]
    rows = kind.read_used_rows(name, path, settings, task) if kind.read_used_rows else kind.read_rows(path, task)
    if task.group:
        rows = [replace(row, together=(group,)) for row, group in zip(rows, _read_groups(path, task), strict=True)]
    return [row for row in rows if not (task.skip_empty_text and not all(row.texts))]


def _read_groups(path: Path, task: Task) -> list[str]:
    """Return the group of each row of a file; "" for a row without one."""
    if format_of(path, task) not in TABLES:
        raise DataError(f"{path}: it has no columns, so there is no {quote(task.group[0])} (--group_column).")
    task = task.of_file(path)
    values = [row[0] for _, row in read_records(path, task.model_copy(update={"text": task.group, "per_file": {}}))]
    return ["" if value is None else require_label(task.group[0], value).strip() for value in values]


def describe_rows(path: Path, rows: Sequence[DataRow], task: Task) -> Rows:
    """Return what is known about the rows of a file. Raises DataError if there are none."""
    if not rows:
        raise DataError(f"{path}: every row has an empty {' or '.join(task.of_file(path).texts)}; nothing is left.")
    composed, _ = compose_rows([row.texts for row in rows])
    texts = np.array([_digest("\0".join(map(str.strip, each))) for each in composed], np.uint64)
    keys = [texts]
    for place in range(len(rows[0].together)):
        alone = (f"\0{number}" for number in range(len(rows)))  # for rows without a group
        keys.append(np.array([_digest(row.together[place] or next(alone)) for row in rows], np.uint64))
    missing = [row.place for row in rows if any(text in MISSING for text in row.texts)]
    notes = [f"the text is a missing value, such as 'nan', in {some_places(missing)}"] if missing else []
    if all(row.texts[0].strip().isdecimal() for row in rows):
        column = quote(task.of_file(path).text[0])
        notes.append(f"every text is a number, such as {quote(rows[0].texts[0])}. Is {column} the column of the text?")
    return Rows(texts, connect(*keys), tuple(notes))


def _digest(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


def _require_shares(train: DataFile, settings: Settings, task: Task) -> None:
    """Raise ConfigError if a share cannot be held out. Labels are left aside: they do not change how many examples are."""
    assert train.rows is not None
    groups = train.rows.groups
    for name, ratio in settings.held_out.items():
        try:
            kept, _ = KINDS[task.kind].split.parts([""] * len(groups), groups, ratio)
        except ConfigError as error:
            raise ConfigError(f"{name}_ratio = {ratio} {error}") from None
        groups = groups[kept]
