"""Tasks and their data. TASKS is the table of tasks, one row per task; no other code refers to a task by name."""

from collections.abc import Mapping

from src.data import Task

# The entity types of Naver NER, in the order of the original's label ids.
ENTITY_TYPES = ("PER", "FLD", "AFW", "ORG", "LOC", "CVL", "DAT", "TIM", "NUM", "EVT", "ANM", "PLT", "MAT", "TRM")


# In the order of the published table.
TASKS: Mapping[str, Task] = {
    "nsmc": Task(
        title="NSMC",
        address="https://github.com/e9t/nsmc",
        licence="CC0 1.0",
        columns=("id", "document", "label"),
        text_columns=("document",),
        label_column="label",
        kind="classification",
        metric="accuracy",
        headline="acc",
        labels={"0": "negative", "1": "positive"},
    ),
    "naver-ner": Task(
        title="Naver NER",
        address="https://github.com/naver/nlp-challenge",
        licence="for research only, no redistribution",
        columns=("sentence", "tags"),
        has_header=False,
        text_columns=("sentence",),
        label_column="tags",
        kind="tagging",
        metric="entity_f1",
        headline="f1",
        # The files have PER-B; the pipelines of transformers group entities by names such as B-PER.
        labels={"O": "O"} | {f"{entity}-{prefix}": f"{prefix}-{entity}" for entity in ENTITY_TYPES for prefix in "BI"},
    ),
    "paws": Task(
        title="PAWS",
        address="https://github.com/google-research-datasets/paws/tree/master/pawsx",
        licence="free for any purpose, attribution is asked for",
        columns=("id", "sentence1", "sentence2", "label"),
        text_columns=("sentence1", "sentence2"),
        label_column="label",
        kind="classification",
        metric="accuracy",
        headline="acc",
        labels={"0": "different", "1": "paraphrase"},
        skip_empty_text=True,
        placeholder="NS",
    ),
    "kornli": Task(
        title="KorNLI",
        address="https://github.com/kakaobrain/kor-nlu-datasets",
        licence="CC BY-SA 4.0",
        columns=("sentence1", "sentence2", "gold_label"),
        text_columns=("sentence1", "sentence2"),
        label_column="gold_label",
        kind="classification",
        metric="accuracy",
        headline="acc",
        labels={"contradiction": "contradiction", "entailment": "entailment", "neutral": "neutral"},
    ),
    "korsts": Task(
        title="KorSTS",
        address="https://github.com/kakaobrain/kor-nlu-datasets",
        licence="CC BY-SA 4.0",
        columns=("genre", "filename", "year", "id", "score", "sentence1", "sentence2"),
        text_columns=("sentence1", "sentence2"),
        label_column="score",
        kind="regression",
        metric="correlation",
        headline="spearmanr",
        score_range=(0.0, 5.0),
    ),
    "question-pair": Task(
        title="Question Pair",
        address="https://github.com/songys/Question_pair",
        licence="MIT",
        columns=("question1", "question2", "is_duplicate"),
        text_columns=("question1", "question2"),
        label_column="is_duplicate",
        kind="classification",
        metric="accuracy",
        headline="acc",
        # The column is named is_duplicate, but 0 means duplicate.
        labels={"0": "same", "1": "different"},
        skip_empty_text=True,
    ),
    "korquad": Task(
        title="KorQuAD",
        address="https://korquad.github.io/category/1.0_KOR.html",
        licence="CC BY-ND 2.0 KR",
        columns=("id", "question", "context", "answers"),  # keys of SQuAD's JSON
        text_columns=("question", "context"),
        label_column="answers",
        kind="span",
        metric="answer_f1",
        headline="f1",
        reported=("exact_match", "f1"),
        scored_on="dev",
    ),
    "hate-speech": Task(
        title="Korean Hate Speech",
        address="https://github.com/kocohub/korean-hate-speech",
        licence="CC BY-SA 4.0",
        columns=("title", "comment", "bias", "hate"),
        text_columns=("comment",),
        label_column="hate",
        kind="classification",
        metric="macro_f1",
        headline="f1",
        scored_on="dev",
        labels={"none": "none", "offensive": "offensive", "hate": "hate"},
    ),
}


def tasks_of(script: str) -> list[str]:
    """Return the names of the tasks that `script` runs, in the order of the table."""
    return [name for name, task in TASKS.items() if task.script == script]
