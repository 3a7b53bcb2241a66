"""From a data file to stored features: Example and Features, the TSV reader, the record of a data file, the feature cache."""

import hashlib
import json
import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from processor import Task
from src.errors import ConfigError, DataError, list_problems

logger = logging.getLogger(__name__)

# Raise it with every change of the code below that changes a feature: caches of other versions are not read.
FEATURES_VERSION = 1
HOLD_OUT_SEED = 42

Tensors = dict[str, np.ndarray]


@dataclass(frozen=True, slots=True)
class Example:
    """One row of a data file: one text or two, and its label (a label string, or a score)."""

    texts: tuple[str, ...]
    label: str | float


@dataclass(frozen=True)
class DataFile:
    """A data file as a run saw it. `status`: "published" where its content is the published file's, else "other"."""

    path: Path
    sha256: str
    status: str


@dataclass(frozen=True)
class Features:
    """Ids of n rows without padding, flat, and where each row starts.

    tensors: `input_ids` int32 [total], `token_type_ids` uint8 [total], `offsets` int64 [n + 1], and what the task adds, such as
    `labels` int64 or float32 [n].
    """

    tensors: Tensors
    counts: dict[str, int] = field(default_factory=dict)  # what was left out or cut off, for the log

    def __len__(self) -> int:
        return len(self.tensors["offsets"]) - 1

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of each row, int64 [n]."""
        return np.diff(self.tensors["offsets"])

    def subset(self, rows: np.ndarray) -> "Features":
        """The given rows (int64 [m]) in the given order."""
        offsets, lengths = self.tensors["offsets"], self.lengths[rows]
        new = np.concatenate([[0], np.cumsum(lengths)])
        tokens = np.arange(new[-1]) + np.repeat(offsets[rows] - new[:-1], lengths)
        # A row has at least two tokens: no array of rows is as long as one of tokens.
        chosen = {
            name: values[tokens if len(values) == offsets[-1] else rows]
            for name, values in self.tensors.items()
            if name != "offsets"
        }
        return Features(chosen | {"offsets": new})


@dataclass(frozen=True)
class Frame:
    """What a tokenizer puts around a row's texts.

    special: (id, segment) of the special tokens before the first text, behind it, and so on. segments: of each text.
    """

    special: tuple[tuple[tuple[int, int], ...], ...]
    segments: tuple[int, ...]

    @property
    def size(self) -> int:
        """How many special tokens a row has."""
        return sum(len(part) for part in self.special)

    @property
    def has_segments(self) -> bool:
        """Whether any token of a row is in another segment than 0."""
        return any(self.segments) or any(segment for part in self.special for _, segment in part)

    @classmethod
    def of(cls, tokenizer: Any, texts: int) -> "Frame":
        """The frame of rows of one text or two, seen on a row of one syllable each."""
        row = tokenizer(*[["가"]] * texts, is_split_into_words=True, return_token_type_ids=True)
        special: list[list[tuple[int, int]]] = [[] for _ in range(texts + 1)]
        segments: dict[int, int] = {}
        for token, segment, text in zip(row["input_ids"], row["token_type_ids"], row.sequence_ids(), strict=True):
            if text is None:
                special[len(segments)].append((token, segment))
            else:
                segments[text] = segment
        return cls(tuple(tuple(part) for part in special), tuple(segments.values()))


@cache
def published() -> tuple[str, dict[str, dict[str, Any]]]:
    """Where the published files are, and <task>/<file> -> its `git_blob`, its `rows` and, where it is known, `sha256`."""
    content = json.loads(Path(__file__).with_name("published.json").read_text(encoding="utf-8"))
    return content["url"], content["files"]


def git_blob(content: bytes) -> str:
    """The name that git gives a file's content, 40 hex digits."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def describe_files(paths: Mapping[str, Path]) -> dict[str, DataFile]:
    """Hash the data file of each split. Raises DataError naming every file that is missing or empty."""
    _, known = published()
    files, problems = {}, []
    for split, path in paths.items():
        content = path.read_bytes() if path.is_file() else None
        if not content:
            problems.append(f"{path} ({split}): {'no such file' if content is None else 'the file is empty'}")
            continue
        blob_id = git_blob(content)
        status = "published" if known.get(f"{path.parent.name}/{path.name}", {}).get("git_blob") == blob_id else "other"
        files[split] = DataFile(path, hashlib.sha256(content).hexdigest(), status)
    if problems:
        title = "data files are not there. data/README.md says what belongs where; --data_dir names another folder:"
        raise DataError(list_problems(title, problems))
    return files


def read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """(line number from 1, line) of a UTF-8 file, split on "\\n" alone; a final newline opens no further line.

    Not `splitlines()`: PAWS holds a 0x1C inside a sentence. Raises DataError with the line of the first byte that is not UTF-8.
    """
    content = path.read_bytes()
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        found = content[error.start : error.start + 4].hex(" ")
        raise DataError(f"{path}, line {line}: found the bytes {found}, expected UTF-8. Convert the file to UTF-8.") from None
    lines = text.split("\n")
    if lines[-1] == "":
        lines.pop()
    return enumerate((line.removesuffix("\r") for line in lines), start=1)


def read_tsv(path: Path, columns: Sequence[str], has_header: bool = True) -> Iterator[tuple[int, list[str]]]:
    """(line number, fields) of every row, behind the header where there is one. Tabs separate, nothing quotes or is stripped.

    Raises DataError, at the end of the file and with all of them, for rows with another number of fields than `columns`, and at
    once for a missing or different header or a file without rows.
    """
    rows = read_lines(path)
    if has_header and (header := next(rows, (1, ""))[1].split("\t")) != list(columns):
        raise DataError(
            f"{path}, line 1: found the header {header}, expected {list(columns)}, separated by tabs. "
            "The first line must name the columns."
        )
    problems, seen = [], 0
    for number, line in rows:
        seen += 1
        fields = line.split("\t")
        if len(fields) == len(columns):
            yield number, fields
        else:
            problems.append(f"line {number}: found {len(fields)} columns, expected {len(columns)} ({', '.join(columns)})")
    if problems:
        raise DataError(list_problems(f"{path}: {len(problems)} malformed rows:", problems))
    if not seen:
        raise DataError(f"{path}: found a header and no rows. Fetch the file again.")


def hold_out(strata: Sequence[Any], ratio: float) -> tuple[np.ndarray, np.ndarray]:
    """Row numbers to train on and to hold out, int64, ascending: of the rows of each stratum about `ratio` is held out.

    Always the same ones, so that runs of different seeds are selected on the same rows. Raises ConfigError where one side is
    left without rows.
    """
    count = round(ratio * len(strata))
    if not 0 < count < len(strata):
        raise ConfigError(
            f"dev_ratio = {ratio} holds out {count} of {len(strata)} rows; give one that leaves rows on both sides."
        )
    shuffled = np.random.default_rng(HOLD_OUT_SEED).permutation(len(strata))
    names = np.array([str(stratum) for stratum in strata])
    ordered = shuffled[np.argsort(names[shuffled], kind="stable")]
    held = np.zeros(len(strata), bool)
    held[ordered[((np.arange(count) + 0.5) * len(strata) / count).astype(np.int64)]] = True
    return np.flatnonzero(~held), np.flatnonzero(held)


def divide(split: Any, strata: Sequence[Any], ratio: float) -> tuple[Any, Any]:
    """A split without a share of its rows, and those rows as the split "dev"; strata: of each row, see hold_out."""
    parts = zip((split.name, "dev"), hold_out(strata, ratio), strict=True)
    train, dev = (replace(split, name=name, rows=rows, features=split.features.subset(rows)) for name, rows in parts)
    log_held_out(train, dev)
    return train, dev


def log_held_out(train: Any, dev: Any) -> None:
    """Say what has become of a training split, which each of both describes."""
    logger.info("dev: %s rows of the training file, held out; %s are left", f"{len(dev):,}", f"{len(train):,}")
    for split in (train, dev):
        split.log_labels()


def log_counts(name: str, what: str, counts: Mapping[str, int]) -> None:
    """Say how often each label occurs."""
    logger.info("%s: %s: %s", name, what, ", ".join(f"{label} {count:,}" for label, count in counts.items()))


def require_unchanged(split: str, file: DataFile) -> None:
    """Raise DataError where a data file is no longer the one that was hashed: its rows would stand beside others' predictions."""
    if describe_files({split: file.path})[split].sha256 != file.sha256:
        raise DataError(f"{file.path} has changed since the run began; its rows no longer belong to the predictions.")


def log_split(name: str, file: DataFile, features: Features, max_seq_len: int, unit: str = "row") -> None:
    """Say what a split is: its file, whether that is the published one, rows, lengths."""
    origin = "the published file" if file.status == "published" else "not the published file: scores will not compare"
    full = int((features.lengths == max_seq_len).sum())
    shape = f"{len(features):,} {unit}s, {features.lengths.mean():.1f} tokens a {unit}, {full:,} {unit}s of max_seq_len"
    logger.info("%s: %s (%s), %s", name, file.path, origin, shape)


class FeatureSettings(Protocol):
    """The settings that features depend on."""

    @property
    def task(self) -> str: ...
    @property
    def max_seq_len(self) -> int: ...
    @property
    def feature_cache_dir(self) -> str: ...


def fingerprint(file: DataFile, task: Task, tokenizer: Any, lengths: Mapping[str, int]) -> str:
    """16 hex digits over all that decides a split's features; `lengths`: the settings of lengths and strides among it."""
    if hasattr(tokenizer, "identity"):  # one that is not all Rust says itself what it is
        identity = tokenizer.identity()
    else:
        identity = json.loads(tokenizer.backend_tokenizer.to_str())
        for state in ("truncation", "padding"):  # left over from the last call, no property of the tokenizer
            identity.pop(state, None)
    facts = [FEATURES_VERSION, file.sha256, asdict(task), identity, dict(lengths)]
    # The keys are not sorted: the order of a task's labels is the order of their ids.
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]


def cached_features(cache_dir: Path, name: str, build: Callable[[], Features]) -> Features:
    """The features stored under `name`, or else built and stored there. A torn file is built again; no cache is no error."""
    path = cache_dir / f"{name}.safetensors"
    if path.is_file():
        try:
            with safe_open(path, framework="numpy") as stored:
                tensors = {key: stored.get_tensor(key) for key in stored.keys()}  # noqa: SIM118
                if len(tensors["input_ids"]) != tensors["offsets"][-1]:
                    raise ValueError("its parts do not fit together")
                return Features(tensors, {key: int(value) for key, value in (stored.metadata() or {}).items()})
        except (SafetensorError, OSError, LookupError, TypeError, ValueError) as error:
            logger.warning("%s cannot be read (%s); the features are built again", path, error)
    features = build()
    try:
        _write_atomically(path, save(features.tensors, {key: str(value) for key, value in features.counts.items()}))
    except OSError as error:
        _warn_once(f"features are not cached: {cache_dir}: {error.strerror}")
    return features


@cache
def _warn_once(message: str) -> None:
    logger.warning(message)


def _write_atomically(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(temporary, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def require_text(name: str, value: Any) -> str:
    """`value` where it is a text; else ValueError says what it is."""
    if not isinstance(value, str):
        raise ValueError(f"{name}: found {json.dumps(value, ensure_ascii=False)[:40]}, expected a text")
    if any("\ud800" <= character <= "\udfff" for character in value):
        raise ValueError(f"{name}: holds half a character, a surrogate without its other half")
    return value


def softmax(scores: np.ndarray) -> np.ndarray:
    """Scores float [n] as probabilities, float64 [n]."""
    weights = np.exp(scores.astype(np.float64) - scores.max())
    return weights / weights.sum()
