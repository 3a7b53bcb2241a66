"""Everything about tasks and their data. TASKS holds the facts, one row a task; nothing else knows a task by name."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Task:
    """The facts of one task. Its files, lengths and hyperparameters are settings: config/tasks/<task>.json."""

    title: str  # as in the published table
    address: str  # where the corpus comes from
    licence: str
    script: str  # the command that runs it
    columns: tuple[str, ...]  # of its files
    text_columns: tuple[str, ...]  # one or two of them: the text, or the pair
    label_column: str
    output_mode: str  # which head and loss: a key of src.models.HEADS
    metric: str  # a key of src.metrics.METRICS
    headline: str  # the score that stands in the table and selects the checkpoint
    scale: float  # what a perfect headline score is
    reported: tuple[str, ...] = ()  # the scores that stand in the table, where it shows more than the headline
    scored_on: str = "test"  # which split of the corpus the test file is
    labels: Mapping[str, str] | None = None  # label in the file -> its readable name, in the order of ids; None: no class
    scores: tuple[float, float] | None = None  # the lowest and the highest, where labels are numbers
    skip_empty_text: bool = False  # leave out rows with an empty text, as the original does
    has_header: bool = True  # whether the first line of a file names its columns
    placeholder: str | None = None  # a text that stands for a missing one: there is a second headline score without such rows


# The 14 types of entities in Naver NER, in the order of the original's label ids.
ENTITY_TYPES = ("PER", "FLD", "AFW", "ORG", "LOC", "CVL", "DAT", "TIM", "NUM", "EVT", "ANM", "PLT", "MAT", "TRM")


# In the order of the published table.
TASKS: Mapping[str, Task] = {
    "nsmc": Task(
        title="NSMC",
        address="https://github.com/e9t/nsmc",
        licence="CC0 1.0",
        script="run_seq_cls.py",
        columns=("id", "document", "label"),
        text_columns=("document",),
        label_column="label",
        output_mode="classification",
        metric="accuracy",
        headline="acc",
        scale=1.0,
        labels={"0": "negative", "1": "positive"},
    ),
    "naver-ner": Task(
        title="Naver NER",
        address="https://github.com/naver/nlp-challenge",
        licence="for research only, no redistribution",
        script="run_ner.py",
        columns=("sentence", "tags"),
        has_header=False,
        text_columns=("sentence",),
        label_column="tags",
        output_mode="tagging",
        metric="entity_f1",
        headline="f1",
        scale=1.0,
        # The files have PER-B; pipelines find whole entities by names like B-PER.
        labels={"O": "O"} | {f"{kind}-{place}": f"{place}-{kind}" for kind in ENTITY_TYPES for place in "BI"},
    ),
    "paws": Task(
        title="PAWS",
        address="https://github.com/google-research-datasets/paws/tree/master/pawsx",
        licence="free for any purpose, attribution is asked for",
        script="run_seq_cls.py",
        columns=("id", "sentence1", "sentence2", "label"),
        text_columns=("sentence1", "sentence2"),
        label_column="label",
        output_mode="classification",
        metric="accuracy",
        headline="acc",
        scale=1.0,
        labels={"0": "different", "1": "paraphrase"},
        skip_empty_text=True,
        placeholder="NS",
    ),
    "kornli": Task(
        title="KorNLI",
        address="https://github.com/kakaobrain/kor-nlu-datasets",
        licence="CC BY-SA 4.0",
        script="run_seq_cls.py",
        columns=("sentence1", "sentence2", "gold_label"),
        text_columns=("sentence1", "sentence2"),
        label_column="gold_label",
        output_mode="classification",
        metric="accuracy",
        headline="acc",
        scale=1.0,
        labels={"contradiction": "contradiction", "entailment": "entailment", "neutral": "neutral"},
    ),
    "korsts": Task(
        title="KorSTS",
        address="https://github.com/kakaobrain/kor-nlu-datasets",
        licence="CC BY-SA 4.0",
        script="run_seq_cls.py",
        columns=("genre", "filename", "year", "id", "score", "sentence1", "sentence2"),
        text_columns=("sentence1", "sentence2"),
        label_column="score",
        output_mode="regression",
        metric="correlation",
        headline="spearmanr",
        scale=1.0,
        scores=(0.0, 5.0),
    ),
    "question-pair": Task(
        title="Question Pair",
        address="https://github.com/songys/Question_pair",
        licence="MIT",
        script="run_seq_cls.py",
        columns=("question1", "question2", "is_duplicate"),
        text_columns=("question1", "question2"),
        label_column="is_duplicate",
        output_mode="classification",
        metric="accuracy",
        headline="acc",
        scale=1.0,
        # The column's name says the opposite of what its values mean.
        labels={"0": "same", "1": "different"},
        skip_empty_text=True,
    ),
    "korquad": Task(
        title="KorQuAD",
        address="https://korquad.github.io/category/1.0_KOR.html",
        licence="CC BY-ND 2.0 KR",
        script="run_squad.py",
        columns=("id", "question", "context", "answers"),  # keys, in the levels of SQuAD's JSON
        text_columns=("question", "context"),
        label_column="answers",
        output_mode="span",
        metric="answer_f1",
        headline="f1",
        scale=100.0,
        reported=("exact_match", "f1"),
        scored_on="dev",
    ),
    "hate-speech": Task(
        title="Korean Hate Speech",
        address="https://github.com/kocohub/korean-hate-speech",
        licence="CC BY-SA 4.0",
        script="run_seq_cls.py",
        columns=("title", "comment", "bias", "hate"),
        text_columns=("comment",),
        label_column="hate",
        output_mode="classification",
        metric="macro_f1",
        headline="f1",
        scale=1.0,
        scored_on="dev",
        labels={"none": "none", "offensive": "offensive", "hate": "hate"},
    ),
}


def tasks_of(script: str) -> list[str]:
    """Names of the tasks that `script` runs, in the order of the table."""
    return [name for name, task in TASKS.items() if task.script == script]
