"""The kinds of task: the one table that says which command runs a kind, what its tasks are by default, and which code is its."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from processor import character_tagging, multi_label, multiple_choice, ner, seq_cls, squad_reader
from processor.character_tagging import CharacterInputs, CharacterSplit
from processor.inputs import Inputs
from processor.multi_label import MultiLabelInputs, MultiLabelSplit
from processor.multiple_choice import ChoiceInputs, ChoiceSplit
from processor.ner import NerInputs, NerSplit
from processor.readers import conll
from processor.readers.tables import DataRow
from processor.seq_cls import SequenceInputs, SequenceSplit
from processor.seq_features import sort_labels
from processor.split import Split
from processor.squad import SquadInputs, SquadSplit
from src.common.errors import DataError
from src.data.task import DataFile, Task
from src.metrics.metrics import METRICS
from src.settings.schema import Settings

TABLES = ("tsv", "csv", "jsonl", "json", "parquet")  # the formats of rows with fields


def in_order(path: Path, found: Iterable[str], task: Task) -> dict[str, str]:
    """Return the labels of a file in their order, see sort_labels; for a metric that leaves out the first one, that one first.

    Raises DataError if the file does not have it.
    """
    labels = sort_labels(found)
    if first := METRICS[task.metric].first_label:
        if first not in labels:
            raise DataError(
                f"{path}: the metric {task.metric} leaves out the label {first!r}, which no row has. Name the labels in a task "
                "file (--print_task prints one), the one that says so first; or choose another --metric."
            )
        labels.sort(key=lambda label: label != first)
    return {label: label for label in labels}


@dataclass(frozen=True)
class Kind:
    """One kind of task. Its head is a row of src.model.heads.HEADS."""

    script: str  # the command that runs it
    defaults: dict[str, Any]  # of the fields that a definition may leave out; its metric is one of them
    labelled: bool  # whether its tasks have labels, or tags, that can be counted
    split: type[Split]  # its data files
    inputs: type[Inputs]  # what predict.py reads
    read_rows: Callable[[Path, Task], list[DataRow]]  # the file as the data check sees it, and where its labels are found
    # Of (split, path, settings, task), if settings change which rows a run uses: these rows.
    read_used_rows: Callable[[str, Path, Settings, Task], list[DataRow]] | None = None
    formats: tuple[str, ...] = TABLES  # of its files
    # Field of a definition -> how many columns it may name.
    max_columns: Mapping[str, int] = field(default_factory=lambda: {"label": 1, "spans": 4})
    problems_of: Callable[[Task], list[str]] = lambda task: []  # what is wrong with the labels of a definition
    # file, the labels in it, task -> label -> its name, in the order of ids, for a definition without labels
    labels_of: Callable[[Path, Iterable[str], Task], dict[str, str]] = in_order


TAGGING = {"metric": "entity_f1", "text": ["sentence"], "label": "tags"}
SPAN = {"metric": "answer_f1", "text": ["question", "context"], "label": "answers", "format": "squad"}

# The first kind of a script is that of own data without --kind.
KINDS: dict[str, Kind] = {
    "classification": Kind("run_seq_cls.py", {"metric": "accuracy"}, True, SequenceSplit, SequenceInputs, seq_cls.read_rows),
    "multi_label": Kind(
        "run_seq_cls.py",
        {"metric": "multi_label_f1"},
        True,
        MultiLabelSplit,
        MultiLabelInputs,
        seq_cls.read_rows,
        max_columns={"spans": 4},
        problems_of=multi_label.problems_of,
    ),
    "regression": Kind("run_seq_cls.py", {"metric": "correlation"}, False, SequenceSplit, SequenceInputs, seq_cls.read_rows),
    "multiple_choice": Kind(
        "run_seq_cls.py",
        {"metric": "choice_f1"},
        True,
        ChoiceSplit,
        ChoiceInputs,
        seq_cls.read_rows,
        max_columns={"label": 1, "choices": multiple_choice.MOST_CHOICES},
        problems_of=multiple_choice.problems_of,
        labels_of=multiple_choice.labels_of,
    ),
    "tagging": Kind(
        "run_ner.py",
        TAGGING,
        True,
        NerSplit,
        NerInputs,
        ner.read_rows,
        formats=(*TABLES, "conll"),
        max_columns={"text": 1, "label": 1},
        problems_of=conll.problems_of,
        labels_of=conll.readable_tags,
    ),
    "character_tagging": Kind(
        "run_ner.py",
        {**TAGGING, "metric": "character_f1"},
        True,
        CharacterSplit,
        CharacterInputs,
        character_tagging.read_rows,
        formats=(*TABLES, "conll"),
        max_columns={"text": 1, "label": 1},
        problems_of=character_tagging.problems_of,
        labels_of=conll.readable_tags,
    ),
    "span": Kind(
        "run_squad.py",
        SPAN,
        False,
        SquadSplit,
        SquadInputs,
        squad_reader.read_rows,
        squad_reader.read_used_rows,
        formats=("squad",),
    ),
}


def load_split(name: str, file: DataFile, settings: Settings, task: Task, tokenizer: Any) -> Split:
    """Load one data file of a task; see Split.load."""
    return KINDS[task.kind].split.load(name, file, settings, task, tokenizer)
