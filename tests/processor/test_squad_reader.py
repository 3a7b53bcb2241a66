import json

import pytest

from processor.squad_reader import read_questions
from processor.squad_windows import SquadExample
from src.common.errors import DataError
from tests.processor.helpers import BAD, CONTEXT, corpus, question, write


def test_reads_questions(path):
    content = corpus(question(), question("q2", "a", 6, extra=1))
    (path.parent).mkdir()
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps(content).encode())
    first, second = read_questions(path, strict=True)
    assert (first.id, first.example, first.answers) == ("q1", SquadExample("a", CONTEXT, ("c", 3)), ["c"])
    assert second.example.answer == ("a", 6)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda file: file.pop("data"), "data: Field required"),
        (lambda file: file.update(data={}), "data: Input should be a valid array"),
        (lambda file: file["data"][0].pop("paragraphs"), "data[0].paragraphs: Field required"),
        (lambda file: file["data"][0]["paragraphs"][0].pop("context"), "data[0].paragraphs[0].context: Field required"),
        (
            lambda file: file["data"][0]["paragraphs"][0].update(context=None),
            "paragraphs[0].context: Input should be a valid string",
        ),
        (lambda file: file["data"][0]["paragraphs"][0]["qas"][0].pop("id"), "paragraphs[0].qas[0].id: Field required"),
        (lambda file: file["data"][0]["paragraphs"][0]["qas"][0].update(id=7), "qas[0].id: Input should be a valid string"),
        (
            lambda file: file["data"][0]["paragraphs"][0]["qas"][0].update(question=[]),
            "qas[0].question: Input should be a valid string",
        ),
        (
            lambda file: file["data"][0]["paragraphs"][0]["qas"][0].update(answers=[]),
            "question 'q1': it has no answers",
        ),
        (
            lambda file: file["data"][0]["paragraphs"][0]["qas"][0]["answers"][0].update(answer_start="3"),
            "qas[0].answers[0].answer_start: Input should be a valid integer",
        ),
    ],
)
def test_reports_the_place_of_missing_keys_and_wrong_types(path, change, expected):
    content = corpus(question())
    change(content)
    with pytest.raises(DataError) as caught:
        read_questions(write(path, content), strict=True)
    assert str(path) in str(caught.value)
    assert expected in str(caught.value)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ('{"data": [', "f.json, line 1, column 11: not JSON"),
        ('{"data": [], "data": []}', "the key 'data' occurs 2 times"),
        (json.dumps(corpus(question(id="\ud800"))), "hex escape"),
        ("[]", "the file: Input should be an object"),
        (json.dumps({"data": []}), "f.json: there are no questions"),
        (json.dumps({"data": [{"paragraphs": [{"context": "a", "qas": []}]}]}), "f.json: there are no questions"),
    ],
)
def test_rejects_other_files(path, content, expected):
    with pytest.raises(DataError, match=r"f\.json") as caught:
        read_questions(write(path, content), strict=True)
    assert expected in str(caught.value)


def test_refuses_questions_without_an_answer(path):
    """Also one with an answer text beside it, and whether or not the file is read strictly."""
    content = corpus(question(), question("q2", is_impossible=True), question("q3", answers=[], is_impossible=True))
    for strict in (True, False):
        with pytest.raises(DataError) as caught:
            read_questions(write(path, content), strict)
        title, *listed = str(caught.value).split("\n")
        assert str(path) in title and "without an answer" in title
        assert [line.split(":")[0] for line in listed] == ["  - question 'q2'", "  - question 'q3'"]
    assert len(read_questions(write(path, corpus(question(is_impossible=False))), strict=True)) == 1


def test_rejects_duplicate_ids_and_misplaced_answers(path):
    with pytest.raises(DataError) as caught:
        read_questions(write(path, BAD), strict=True)
    message = str(caught.value)
    assert f"{path}: 5 " in message
    assert "question 'q1': duplicate" in message
    assert "question 'q2': 'c' is not at 2" in message
    assert "question 'q5': 'a' is not at -1" in message
    assert "--strict_data false" in message


def test_uses_the_first_answer_at_its_place(path, caplog):
    both = question(answers=[{"text": "c", "answer_start": 0}, {"text": "cd", "answer_start": 3}])
    (loaded,) = read_questions(write(path, corpus(both)), strict=False)
    assert (loaded.example.answer, loaded.answers) == (("cd", 3), ["c", "cd"])
