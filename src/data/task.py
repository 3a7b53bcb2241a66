"""The types that tasks and the training loop share: the definition of a task, its features. Imports only NumPy and pydantic."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr

Scores = dict[str, float]  # name of a score -> value
Format = Literal["tsv", "csv", "jsonl", "json", "conll", "squad", "parquet"]  # of data files

POSITIONS = ("B-", "I-", "E-", "S-")  # how tags such as B-PER begin


def ends_with_position(tags: Iterable[str]) -> bool:
    """Return whether tags have their B or I at the end, as in PER-B: seqeval's option `suffix`. In B-PER it is at the start."""
    return not all(tag.startswith(POSITIONS) for tag in set(tags) - {"O"})


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


SPAN_MARKS = ("<subj>", "</subj>", "<obj>", "</obj>")  # around the two spans of a text, see Task.spans


class PublishedFile(_Record):
    """A data file that others have published: where it is, and how to recognize it."""

    url: str
    git_blob: str = Field(pattern="^[0-9a-f]{40}$")  # the id that git gives to its content
    rows: int
    sha256: str | None = Field(None, pattern="^[0-9a-f]{64}$")


class FileFields(_Record):
    """The fields of a definition that may differ between the files of a task; None: as the task has it."""

    format: Format | None = None
    delimiter: str | None = Field(None, min_length=1, max_length=1)
    encoding: str | None = None
    columns: tuple[str, ...] | None = None
    header: bool | None = None
    text: tuple[str, ...] | None = None
    choices: tuple[str, ...] | None = None
    label: tuple[str, ...] | None = None
    group: tuple[str, ...] | None = None
    label_separator: str | None = Field(None, min_length=1)
    spellings: dict[str, str] | None = None


class Task(_Record):
    """The definition of a task: the "definition" in config/tasks/<task>.json, with the defaults of its kind filled in.

    Its files, lengths and hyperparameters are settings, in the same file.
    """

    kind: str  # decides script, reader, head and loss: a row of processor.kinds.KINDS and of src.model.heads.HEADS
    title: str  # column title in the tables
    suite: str = ""  # the tasks that are usually reported together
    order: int = 1000  # its place among the columns of the tables
    source: str = ""  # where the corpus comes from
    licence: str = ""
    texts_may_be_shown: bool = False  # whether the licence lets a report, which may be passed on, quote texts of the corpus
    format: Format | None = None  # of its files; None: by the suffix of each
    delimiter: str = Field(",", min_length=1, max_length=1)  # between the values of a row in csv files
    encoding: str = "utf-8"
    columns: tuple[str, ...] = ()  # of a table, in their order; (): as the first line names them
    header: bool = True  # whether the first line of a file names its columns
    text: tuple[str, ...] = Field(min_length=1, max_length=2)  # columns, or dotted paths into records; two for pairs
    # Columns of the first and last characters of two spans of the text, the subject and the object; they are marked in it.
    spans: tuple[str, ...] = Field((), max_length=4)
    choices: tuple[str, ...] = ()  # multiple_choice: columns of the answers to choose from; `text` is joined by a space
    label: tuple[str, ...] = Field(min_length=1)  # column; for multi_label also one column of 0 and 1 per label
    group: tuple[str, ...] = Field((), max_length=1)  # column of what must not be on both sides of a hold-out, such as a person
    label_separator: str = Field(",", min_length=1)  # between the labels of a row, if they are in one text
    # label in the file -> readable name, in the order of ids; None: no classes, or those of the training file (processor.labels)
    labels: dict[str, str] | None = None
    spellings: dict[str, str] = {}  # other spelling of a label in the file -> the label
    score_range: tuple[float, float] | None = None  # lowest and highest label of a regression task
    skip_empty_text: bool = False  # leave out rows with an empty text, as the original does
    placeholder: str | None = None  # text in place of a missing one; rows with it are left out of `<headline>_clean`
    metric: str  # a row of src.metrics.metrics.METRICS
    headline: str  # the score that selects checkpoints
    reported: tuple[str, ...] = ()  # the scores in the tables, if not the headline alone
    scored_on: Literal["dev", "test"] = "test"  # the corpus split that serves as test file
    files: dict[str, PublishedFile] = {}  # by name; they can be downloaded into <data_dir>/<task>
    per_file: dict[str, FileFields] = {}  # by name: what differs in this file

    _script: str = PrivateAttr("")  # that of its kind, see processor.definition.make_task

    @property
    def script(self) -> str:
        """The command that runs this task."""
        return self._script

    @property
    def scores(self) -> tuple[str, ...]:
        """Names of the scores in the tables."""
        return self.reported or (self.headline,)

    @property
    def texts(self) -> tuple[str, ...]:
        """The columns of the texts of a row."""
        return (*self.text, *self.choices)

    @property
    def values(self) -> tuple[str, ...]:
        """The columns of a row that are read: texts, spans, labels."""
        return (*self.texts, *self.spans, *self.label)

    @property
    def special_tokens(self) -> tuple[str, ...]:
        """The tokens that its texts have and a model's vocabulary lacks."""
        return SPAN_MARKS if self.spans else ()

    def of_file(self, path: Path) -> "Task":
        """Return the task as it is in one file, see `per_file`."""
        fields = self.per_file.get(path.name)
        return self if fields is None else self.model_copy(update=fields.model_dump(exclude_none=True))


# The fields of a definition that change features, and those that change no score: they only describe the task. The order of
# `labels` is the order of their ids.
FEATURE_FIELDS = (
    "kind", "delimiter", "encoding", "columns", "header", "text", "spans", "choices", "label", "label_separator", "labels",
    "spellings", "skip_empty_text",
)  # fmt: skip
DESCRIPTIVE_FIELDS = ("title", "suite", "order", "source", "licence", "texts_may_be_shown", "reported", "scored_on", "files")

Tasks = Mapping[str, Task]  # by name


@dataclass(frozen=True)
class DataFile:
    """A data file as a run saw it. `status`: "published" if its content is that of the published file, else "other"."""

    path: Path
    sha256: str
    status: str
    rows: "Rows | None" = field(default=None, compare=False, repr=False)  # None: they were not read yet


@dataclass(frozen=True)
class Rows:
    """What is known about the n examples of a data file before a tokenizer reads them, see processor.data_checks."""

    texts: np.ndarray  # uint64 [n]: a digest of the texts of each, composed and stripped
    groups: np.ndarray  # int64 [n]: equal for examples that a hold-out must not part, numbered in the order of their first ones
    notes: tuple[str, ...] = ()  # what to say about the file, a line each


IGNORE_INDEX = -100  # label id of a token without a label; losses and metrics skip it

# Marks of a window's tokens: outside the context; in the context; in the context, and no other window shows the token with more
# context around it. An answer may begin only at MAX_CONTEXT and must end inside the context.
NOT_CONTEXT, IN_CONTEXT, MAX_CONTEXT = 0, 1, 2

Tensors = dict[str, np.ndarray]

# Tensors of Features with one entry per token; `labels` has one per row, all others but `offsets` one per sequence.
TOKEN_TENSORS = frozenset({"input_ids", "token_type_ids", "label_ids", "char_start", "char_end", "context_marks"})


@dataclass(frozen=True)
class Features:
    """Token ids of n rows without padding: flat arrays of `total` tokens, and where each sequence of tokens starts.

    A row is one sequence, or for multiple_choice k sequences, one for each choice: s = n * k.

    | tensor | dtype, shape | kinds | content |
    | :--- | :--- | :--- | :--- |
    | `input_ids` | int32 [total] | all | token ids, special tokens included |
    | `token_type_ids` | uint8 [total] | all | segment of each token |
    | `offsets` | int64 [s + 1] | all | sequence i has the tokens offsets[i] to offsets[i + 1] |
    | `labels` | int64 [n] / float32 [n] | classification, multiple_choice / regression | label id / score of each row |
    | `labels` | float32 [n, labels] | multi_label | 1 for each label of a row, else 0 |
    | `label_ids` | int32 [total] | tagging | label id of the first token of each word, IGNORE_INDEX elsewhere |
    | `start_positions`, `end_positions` | int32 [n] | span | first and last token of the answer in the window, 0 if not in it |
    | `example_index` | int32 [n] | span | the question that a window belongs to |
    | `char_start`, `char_end` | int32 [total] | span | the token's characters in the context, -1 outside of it |
    | `context_marks` | uint8 [total] | span | NOT_CONTEXT, IN_CONTEXT or MAX_CONTEXT |
    | `cut` | int32 [s] | all | tokens cut off the sequence (tagging: words; span: tokens cut off the question) |
    | `decomposed` | uint8 [s] | all | 1 if a text of the sequence had decomposed Hangul, see src.data.hangul |
    """

    tensors: Tensors
    counts: dict[str, int] = field(default_factory=dict)  # what was left out, for the log

    def __len__(self) -> int:
        return len(self.sequence_lengths) // self.per_row

    @property
    def per_row(self) -> int:
        """Sequences of each row."""
        rows = len(self.tensors.get("labels", ()))
        return (len(self.tensors["offsets"]) - 1) // rows if rows else 1

    @property
    def sequence_lengths(self) -> np.ndarray:
        """Tokens of each sequence, int64 [s]."""
        return np.diff(self.tensors["offsets"])

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of each row, int64 [n]."""
        return np.diff(self.tensors["offsets"][:: self.per_row])

    @property
    def widths(self) -> np.ndarray:
        """Tokens of the longest sequence of each row, int64 [n]."""
        return self.sequence_lengths.reshape(-1, self.per_row).max(axis=1)

    def subset(self, rows: np.ndarray) -> "Features":
        """Return the given rows (int64 [m]) in the given order."""
        tokens, sequences = self.positions(rows), self.sequences(rows)
        chosen = {
            name: values[tokens if name in TOKEN_TENSORS else rows if name == "labels" else sequences]
            for name, values in self.tensors.items()
            if name != "offsets"
        }
        return Features(chosen | {"offsets": np.concatenate([[0], np.cumsum(self.sequence_lengths[sequences])])})

    def sequences(self, rows: np.ndarray) -> np.ndarray:
        """Return the numbers of the sequences of the given rows (int64 [m]), int64 [m * per_row]."""
        return (rows[:, None] * self.per_row + np.arange(self.per_row)).ravel()

    def positions(self, rows: np.ndarray) -> np.ndarray:
        """Return the positions of the tokens of the given rows (int64 [m]) in the flat arrays, int64 [tokens]."""
        starts, lengths = self.tensors["offsets"][:: self.per_row][rows], self.lengths[rows]
        ends = np.cumsum(lengths)
        return np.arange(lengths.sum()) + np.repeat(starts - (ends - lengths), lengths)


class Split(Protocol):
    """One data file of a task, as the training loop uses it. Implemented by processor.split.Split.

    `decode` turns what src.training.evaluate.predict returns for `features` into predictions, once per scoring; scores, report
    and prediction files are made from its result. It also gets the scores of the same weights on dev, empty if there are none
    (yet): what is chosen on dev is among them.
    """

    @property
    def features(self) -> Features: ...
    @property
    def facts(self) -> Mapping[str, Any]: ...
    def __len__(self) -> int: ...
    def hold_out(self, ratio: float, name: str) -> "tuple[Split, Split]": ...
    def draw(self, number: int, seed: int) -> "Split": ...
    def beside(self, train: "Split | None", known: int | None) -> "Split": ...
    def decode(self, outputs: np.ndarray, dev: Scores) -> Any: ...
    def score(self, decoded: Any) -> Scores: ...
    def report(self, decoded: Any) -> str: ...
    def cautions(self, decoded: Any) -> list[str]: ...
    def predictions(self, decoded: Any) -> Mapping[str, Iterable[str]]: ...
