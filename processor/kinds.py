"""The kinds of task: the one table that says which command runs a kind, what its tasks are by default, and which code is its."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from processor import multi_label, ner, seq_cls, squad, squad_reader
from processor.inputs import Inputs
from processor.readers.tables import DataRow
from processor.split import Split
from src.data.task import DataFile, Task
from src.settings.schema import Settings


@dataclass(frozen=True)
class Kind:
    """One kind of task. Its head is a row of src.model.heads.HEADS."""

    script: str  # the command that runs it
    defaults: dict[str, Any]  # of the fields that a definition may leave out; its metric is one of them
    split: type[Split]  # its data files
    inputs: type[Inputs]  # what predict.py reads
    read_rows: Callable[[Path, Task], list[DataRow]]  # for the data check
    read_labels: Callable[[Path, Task], Iterator[str]] | None = None  # all labels in a file, one by one; None: it has no classes


# The first kind of a script is that of own data without --kind.
KINDS: dict[str, Kind] = {
    "classification": Kind(
        "run_seq_cls.py",
        {"metric": "accuracy"},
        seq_cls.SequenceSplit,
        seq_cls.SequenceInputs,
        seq_cls.read_rows,
        seq_cls.read_labels,
    ),
    "multi_label": Kind(
        "run_seq_cls.py",
        {"metric": "multi_label_f1"},
        multi_label.MultiLabelSplit,
        multi_label.MultiLabelInputs,
        seq_cls.read_rows,
        seq_cls.read_labels,
    ),
    "regression": Kind(
        "run_seq_cls.py", {"metric": "correlation"}, seq_cls.SequenceSplit, seq_cls.SequenceInputs, seq_cls.read_rows
    ),
    "tagging": Kind(
        "run_ner.py",
        {"metric": "entity_f1", "text": ["sentence"], "label": "tags"},
        ner.NerSplit,
        ner.NerInputs,
        ner.read_rows,
        ner.read_labels,
    ),
    "span": Kind(
        "run_squad.py",
        {"metric": "answer_f1", "text": ["question", "context"], "label": "answers", "format": "squad"},
        squad.SquadSplit,
        squad.SquadInputs,
        squad_reader.read_rows,
    ),
}


def load_split(name: str, file: DataFile, settings: Settings, task: Task, tokenizer: Any) -> Split:
    """Load one data file of a task; see Split.load."""
    return KINDS[task.kind].split.load(name, file, settings, task, tokenizer)
