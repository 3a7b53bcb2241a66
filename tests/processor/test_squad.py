import json

import numpy as np
import pytest

from processor import TASKS
from processor.data_files import describe_files
from processor.squad import load_split
from processor.squad_reader import read_questions
from src.errors import ConfigError, DataError
from tests.processor.helpers import BAD, NONE, corpus, question, spans, write

TASK = TASKS["korquad"]


def split_of(path, settings, tokenizer, name="test", **changes):
    return load_split(name, describe_files({name: path})[name], settings("korquad", **changes), TASK, tokenizer)


def test_unless_told_otherwise(path, caplog, settings, tokenizer):
    questions = read_questions(write(path, BAD), strict=False)
    assert "5 questions or answers cannot be right" in caplog.text
    assert [(each.id, each.asked.answer) for each in questions] == [
        ("q1", ("c", 3)),
        ("q2", None),
        ("q3", None),
        ("q4", None),
        ("q5", None),
    ]
    # Training leaves out what it cannot learn from; scoring counts every question.
    assert split_of(path, settings, tokenizer, "train", strict_data=False).facts == {"rows": 1, "windows": 1}
    assert split_of(path, settings, tokenizer, "test", strict_data=False).facts["rows"] == 5


def test_training_without_a_single_answer(path, settings, tokenizer):
    write(path, corpus(question("q2", "c", 2)))
    with pytest.raises(DataError, match="no answer stands where"):
        split_of(path, settings, tokenizer, "train", strict_data=False)


def test_scores_and_files(path, settings, tokenizer):
    write(path, corpus(question(), question("q2", "a", 6), question("q3", "ab", 0)))
    split = split_of(path, settings, tokenizer)
    lead = 3  # [CLS] a [SEP]
    rows = spans([(lead + 2, lead + 2, 1, 1), (lead, lead + 1, 0, 0)], [(lead, lead, 0, 0), NONE], [NONE, NONE])
    assert split.score(rows) == {"exact_match": pytest.approx(200 / 3), "f1": pytest.approx(200 / 3)}
    written = {name: list(lines) for name, lines in split.predictions(rows).items()}
    table = [line.split("\t") for line in written.pop("predictions.tsv")]
    files = {name: json.loads("".join(lines)) for name, lines in written.items()}
    assert files["predictions.json"] == {"q1": "c", "q2": "a", "q3": ""}
    assert [each["text"] for each in files["nbest.json"]["q1"]] == ["c", "ab"]
    assert files["nbest.json"]["q1"][0] == {
        "text": "c",
        "probability": pytest.approx(np.exp(2) / (np.exp(2) + 1)),
        "start_logit": 1.0,
        "end_logit": 1.0,
    }
    assert files["nbest.json"]["q3"] == []
    assert table[0] == ["id", "question", "answers", "prediction", "exact_match", "f1"]
    assert [[json.loads(field) for field in line] for line in table[1:]] == [
        ["q1", "a", ["c"], "c", 100, 100],
        ["q2", "a", ["a"], "a", 100, 100],
        ["q3", "a", ["ab"], "", 0, 0],
    ]


def test_the_ceiling(path, settings, tokenizer, caplog):
    """ "c" and "ab" have tokens of their own; "b" stands inside a word, of which a model can only say all: F1 2 * 1 / (2 + 1)."""
    write(path, corpus(question(), question("q2", "ab", 0), question("q3", "b", 1)))
    with caplog.at_level("INFO"):
        split = split_of(path, settings, tokenizer)
    expected = {"exact_match": pytest.approx(100 * 2 / 3), "f1": pytest.approx(100 * (2 + 2 / 3) / 3)}
    assert split.facts == {"rows": 3, "windows": 3, "ceiling": expected}
    assert "test: the ceiling, which a perfect model would reach with this tokenizer: exact_match 66.67, f1 88.89" in caplog.text
    # An answer of two tokens cannot be said where one is the limit.
    assert split_of(path, settings, tokenizer, max_answer_length=1).ceiling["exact_match"] == pytest.approx(100 / 3)


def test_answers_the_old_way(path, settings, tokenizer):
    """The old code takes a span that begins inside a word for the whole word, where ours cuts it at its characters."""
    write(path, corpus(question("q1", "d", 4)))
    rows = spans([(3 + 3, 3 + 3, 1, 1)])  # the piece ##d of cd
    assert split_of(path, settings, tokenizer).score(rows)["exact_match"] == 100
    assert split_of(path, settings, tokenizer, answer_text="legacy").score(rows) == {
        "exact_match": 0,
        "f1": pytest.approx(200 / 3),
    }


def test_the_ceiling_of_the_published_vocabulary(shared, tmp_path, settings):
    """EM 67, F1 96: particles that one piece holds together with the end of an answer."""
    from transformers import BertTokenizer

    (tmp_path / "vocab.txt").write_bytes((shared / "vocab" / "koelectra-vocab.txt").read_bytes())
    tokenizer = BertTokenizer.from_pretrained(tmp_path, do_lower_case=False)
    path = shared / "data" / "standin" / "korquad" / "KorQuAD_v1.0_dev.json"
    ceilings = [
        split_of(path, settings, tokenizer, max_answer_length=30, answer_text=how).ceiling for how in ("offsets", "legacy")
    ]
    assert [ceiling["exact_match"] for ceiling in ceilings] == [pytest.approx(68.24, abs=0.01), pytest.approx(67.12, abs=0.01)]
    assert [ceiling["f1"] for ceiling in ceilings] == [pytest.approx(96.18, abs=0.01), pytest.approx(96.05, abs=0.01)]


def test_windows_from_the_cache_are_those_that_were_built(path, settings, tokenizer):
    write(path, corpus(question()))
    built, stored = (split_of(path, settings, tokenizer).features.tensors for _ in range(2))
    assert built.keys() == stored.keys()
    assert all(np.array_equal(built[name], stored[name]) and built[name].dtype == stored[name].dtype for name in built)
    assert len(list((path.parent.parent / "cache").iterdir())) == 1
    split_of(path, settings, tokenizer, doc_stride=64)
    assert len(list((path.parent.parent / "cache").iterdir())) == 2


def test_whole_articles_are_held_out(path, settings, tokenizer):
    articles = [corpus(question(f"q{number}a"), question(f"q{number}b", "ab", 0))["data"][0] for number in range(10)]
    write(path, {"data": articles})
    whole = split_of(path, settings, tokenizer, "train")
    train, dev = whole.hold_out(0.2)
    assert (len(train.questions), len(dev.questions)) == (16, 4)
    assert {each.id[:2] for each in train.questions} & {each.id[:2] for each in dev.questions} == set()
    assert dev.facts["rows"] == 4
    assert dev.features.tensors["example_index"].tolist() == [0, 1, 2, 3]
    assert dev.ceiling == {"exact_match": 100, "f1": 100}  # so its questions are those of its windows
    with pytest.raises(ConfigError, match="holds out all 1 articles"):
        split_of(write(path, corpus(question())), settings, tokenizer, "train").hold_out(0.5)
