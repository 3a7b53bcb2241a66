import json
import re

import numpy as np
import pytest

from processor.data_files import describe_files
from processor.definition import TASKS
from processor.kinds import load_split
from processor.squad_reader import read_questions
from src.common.errors import ConfigError, DataError
from tests.processor.helpers import BAD, NONE, corpus, question, spans, write

TASK = TASKS["korquad"]


def split_of(path, settings, tokenizer, name="test", **changes):
    return load_split(name, describe_files({name: path})[name], settings("korquad", **changes), TASK, tokenizer)


def test_continues_without_wrong_answers_if_not_strict(path, caplog, settings, tokenizer):
    questions = read_questions(write(path, BAD), strict=False)
    assert f"{path}: 5 " in caplog.text
    assert [(question.id, question.example.answer) for question in questions] == [
        ("q1", ("c", 3)),
        ("q2", None),
        ("q3", None),
        ("q4", None),
        ("q5", None),
    ]
    # Training skips questions without the position of an answer; scoring counts every question.
    assert split_of(path, settings, tokenizer, "train", strict_data=False).facts.items() >= {"rows": 1, "windows": 1}.items()
    assert split_of(path, settings, tokenizer, "test", strict_data=False).facts["rows"] == 5


def test_rejects_a_training_file_without_answers(path, settings, tokenizer):
    write(path, corpus(question("q2", "c", 2)))
    with pytest.raises(DataError, match=r"train: .*answer_start"):
        split_of(path, settings, tokenizer, "train", strict_data=False)


def test_writes_scores_and_files(path, settings, tokenizer):
    write(path, corpus(question(), question("q2", "a", 6), question("q3", "ab", 0)))
    split = split_of(path, settings, tokenizer)
    lead = 3  # [CLS] a [SEP]
    rows = spans([(lead + 2, lead + 2, 1, 1), (lead, lead + 1, 0, 0)], [(lead, lead, 0, 0), NONE], [NONE, NONE])
    decoded = split.decode(rows)
    assert split.score(decoded) == {"exact_match": pytest.approx(200 / 3), "f1": pytest.approx(200 / 3)}
    written = {name: list(lines) for name, lines in split.predictions(decoded).items()}
    table = [line.split("\t") for line in written.pop("predictions.tsv")]
    files = {name: json.loads("".join(lines)) for name, lines in written.items()}
    assert files["predictions.json"] == {"q1": "c", "q2": "a", "q3": ""}
    (error,) = files["analysis.json"]["errors"]
    assert (error["row"], error["prediction"], files["analysis.json"]["rows"]) == ("q3", "", 3)
    assert [candidate["text"] for candidate in files["nbest.json"]["q1"]] == ["c", "ab"]
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


def test_computes_the_upper_bound(path, settings, tokenizer, caplog):
    """ "c" and "ab" have their own tokens; "b" is inside a word, which a model can only predict whole: F1 2 * 1 / (2 + 1)."""
    write(path, corpus(question(), question("q2", "ab", 0), question("q3", "b", 1)))
    with caplog.at_level("INFO"):
        split = split_of(path, settings, tokenizer)
    expected = {"exact_match": pytest.approx(100 * 2 / 3), "f1": pytest.approx(100 * (2 + 2 / 3) / 3)}
    assert split.facts.items() >= {"rows": 3, "windows": 3, "ceiling": expected}.items()
    assert re.search(r"test: upper bound .*exact_match 66\.67, f1 88\.89", caplog.text)
    # An answer of two tokens cannot be predicted if the limit is one.
    assert split_of(path, settings, tokenizer, max_answer_length=1).upper_bound["exact_match"] == pytest.approx(100 / 3)


def test_cautions_count_questions_and_compare_answers(path, settings, tokenizer):
    write(path, corpus(question(), question("q2", "a", 6)))
    split = split_of(path, settings, tokenizer)
    ab, c = (3, 4, 0, 0), (5, 5, 0, 0)
    assert [caution[:24] for caution in split.cautions(split.decode(spans([ab], [c])))] == ["it rests on 2 examples o"]
    _, same = split.cautions(split.decode(spans([ab], [ab])))
    assert "same ('ab')" in same


def test_legacy_answers(path, settings, tokenizer):
    """A span that begins inside a word: its characters with offsets, the whole word in the legacy way."""
    write(path, corpus(question("q1", "d", 4)))
    rows = spans([(3 + 3, 3 + 3, 1, 1)])  # the piece ##d of cd
    by_offsets, legacy = split_of(path, settings, tokenizer), split_of(path, settings, tokenizer, answer_text="legacy")
    assert by_offsets.score(by_offsets.decode(rows))["exact_match"] == 100
    assert legacy.score(legacy.decode(rows)) == {"exact_match": 0, "f1": pytest.approx(200 / 3)}


def test_upper_bound_of_the_published_vocabulary(shared, tmp_path, settings):
    """EM 67, F1 96: one token can hold the end of an answer and a particle."""
    from transformers import BertTokenizer

    (tmp_path / "vocab.txt").write_bytes((shared / "vocab" / "koelectra-vocab.txt").read_bytes())
    tokenizer = BertTokenizer.from_pretrained(tmp_path, do_lower_case=False)
    path = shared / "data" / "standin" / "korquad" / "KorQuAD_v1.0_dev.json"
    bounds = [
        split_of(path, settings, tokenizer, max_answer_length=30, answer_text=how).upper_bound for how in ("offsets", "legacy")
    ]
    assert [scores["exact_match"] for scores in bounds] == [pytest.approx(68.24, abs=0.01), pytest.approx(67.12, abs=0.01)]
    assert [scores["f1"] for scores in bounds] == [pytest.approx(96.18, abs=0.01), pytest.approx(96.05, abs=0.01)]


def test_cached_windows_equal_built_ones(path, settings, tokenizer):
    write(path, corpus(question()))
    built, stored = (split_of(path, settings, tokenizer).features.tensors for _ in range(2))
    assert built.keys() == stored.keys()
    assert all(np.array_equal(built[name], stored[name]) and built[name].dtype == stored[name].dtype for name in built)
    assert len(list((path.parent.parent / "cache").iterdir())) == 1
    split_of(path, settings, tokenizer, doc_stride=64)
    assert len(list((path.parent.parent / "cache").iterdir())) == 2


def test_holds_out_whole_articles(path, settings, tokenizer):
    articles = [corpus(question(f"q{number}a"), question(f"q{number}b", "ab", 0))["data"][0] for number in range(10)]
    articles[0]["paragraphs"][0]["qas"][0]["question"] = "b"  # nothing could be learned from equal rows
    write(path, {"data": articles})
    whole = split_of(path, settings, tokenizer, "train")
    train, dev = whole.hold_out(0.2)
    assert (len(train.examples), len(dev.examples)) == (16, 4)
    assert {question.id[:2] for question in train.examples} & {question.id[:2] for question in dev.examples} == set()
    assert dev.facts["rows"] == 4
    assert dev.features.tensors["example_index"].tolist() == [0, 1, 2, 3]
    assert dev.upper_bound == {"exact_match": 100, "f1": 100}  # only if its questions belong to its windows
    _, test = train.hold_out(0.25, "test")  # of what is left
    assert [question.id for question in test.examples] == [whole.examples[row].id for row in test.rows]
    assert test.upper_bound == {"exact_match": 100, "f1": 100}
    with pytest.raises(ConfigError, match=r"dev_ratio = 0\.5 .* 1 articles"):
        split_of(write(path, corpus(question())), settings, tokenizer, "train").hold_out(0.5)


def test_draws_questions_with_all_their_windows(path, settings, tokenizer):
    """Eight questions on a context that needs three windows: max_train_samples counts questions."""
    questions = [question(f"q{number}", question="abcde"[number % 5]) for number in range(8)]
    write(path, corpus(*questions, context="ab cd " + "a " * 20))
    whole = split_of(path, settings, tokenizer, "train", max_seq_len=16, doc_stride=8, max_query_length=4)
    windows = len(whole) // 8
    assert windows > 1
    parts = {number: whole.draw(number, seed=1) for number in (2, 5)}
    for number, part in parts.items():
        assert (len(part), part.facts["rows"], part.facts["drawn_from"]) == (number * windows, number, 8)
        assert part.examples == [whole.examples[row] for row in part.rows]
        assert part.features.tensors["example_index"].tolist() == np.repeat(np.arange(number), windows).tolist()
    assert {*parts[2].rows} < {*parts[5].rows}
