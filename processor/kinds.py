"""The code of each kind of task: the one table that maps kinds to code."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from processor import multi_label, ner, seq_cls, squad, squad_reader
from processor.inputs import Inputs
from processor.readers.tables import DataRow
from processor.split import Split
from src.data.task import DataFile, Kind, Task
from src.settings.schema import Settings


@dataclass(frozen=True)
class KindCode:
    """The code of one kind of task."""

    split: type[Split]  # its data files
    inputs: type[Inputs]  # what predict.py reads
    read_rows: Callable[[Path, Task], list[DataRow]]  # for the data check
    read_labels: Callable[[Path, Task], Iterator[str]] | None = None  # all labels in a file, one by one; None: it has no classes


KINDS: Mapping[Kind, KindCode] = {
    "classification": KindCode(seq_cls.SequenceSplit, seq_cls.SequenceInputs, seq_cls.read_rows, seq_cls.read_labels),
    "multi_label": KindCode(multi_label.MultiLabelSplit, multi_label.MultiLabelInputs, seq_cls.read_rows, seq_cls.read_labels),
    "regression": KindCode(seq_cls.SequenceSplit, seq_cls.SequenceInputs, seq_cls.read_rows),
    "tagging": KindCode(ner.NerSplit, ner.NerInputs, ner.read_rows, ner.read_labels),
    "span": KindCode(squad.SquadSplit, squad.SquadInputs, squad_reader.read_rows),
}


def load_split(name: str, file: DataFile, settings: Settings, task: Task, tokenizer: Any) -> Split:
    """Load one data file of a task; see Split.load."""
    return KINDS[task.kind].split.load(name, file, settings, task, tokenizer)
