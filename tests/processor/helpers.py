"""Small files of questions, and best spans of windows, that can be checked by hand."""

import json

import numpy as np

CONTEXT = "ab cd a"


def question(name="q1", text="c", start=3, **changes):
    return {"id": name, "question": "a", "answers": [{"text": text, "answer_start": start}]} | changes


def corpus(*questions, context=CONTEXT):
    return {"version": "KorQuAD_v1.0_dev", "data": [{"title": "t", "paragraphs": [{"context": context, "qas": list(questions)}]}]}


def write(path, content):
    path.parent.mkdir(exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


BAD = corpus(
    question(),
    question("q2", "c", 2),
    question("q1", "ab", 0),
    question("q3", "zz", 0),
    question("q4", " ", 2),
    question("q5", "a", -1),
)


def spans(*rows):
    """Return the best spans of windows from (first, last, start_logit, end_logit)."""
    return np.array(rows, np.float32)


NONE = (0, 0, -np.inf, -np.inf)
