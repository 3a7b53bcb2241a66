import json
import logging

import pytest

from processor.data_files import describe_files
from processor.definition import TASKS
from processor.labels import complete_task
from processor.readers.conll import readable_tags
from processor.seq_features import sort_labels
from src.common.errors import DataError
from tests.processor.readers.test_tables import task_of


@pytest.fixture
def complete(tmp_path):
    """complete("f.csv", content, ...) returns the task, with these changes, completed from a training file."""

    def completed(name, content, **changes):
        (tmp_path / name).write_text(content, encoding="utf-8")
        return complete_task(task_of(**changes), describe_files({"train": tmp_path / name}))

    return completed


def table(*labels):
    return "x,y\n" + "".join(f"글 {number},{label}\n" for number, label in enumerate(labels))


def test_takes_labels_from_train(complete, caplog):
    caplog.set_level(logging.INFO)
    assert list(complete("f.csv", table(*["나", "가"] * 5, "나")).labels.items()) == [("가", "가"), ("나", "나")]
    assert caplog.records == []  # the log of the split lists them, once


def test_sorts_numbers_as_numbers():
    assert sort_labels(["10", "9", "-1", "2.5"]) == ["-1", "2.5", "9", "10"]
    assert sort_labels(["10", "9", "nan"]) == ["10", "9", "nan"]


def test_labels_of_json_may_be_numbers(complete):
    rows = [{"x": "글", "y": value} for value in (10, 9, True, 2.5, 10**400)]
    assert list(complete("f.jsonl", "\n".join(map(json.dumps, rows))).labels) == ["10", f"1{'0' * 400}", "2.5", "9", "true"]


def test_leaves_other_tasks_as_they_are():
    for name in ("nsmc", "korsts", "korquad"):
        assert complete_task(TASKS[name], {}) is TASKS[name]


def test_skipped_rows_count_for_nothing(complete):
    assert list(complete("f.csv", table(1, 2) + ",3\n", skip_empty_text=True).labels) == ["1", "2"]


def test_scores_with_the_labels_of_the_run(tmp_path):
    definition = {"kind": "classification", "text": "x", "label": "y", "labels": {"b": "b", "a": "a"}}
    (tmp_path / "settings.json").write_text(json.dumps({"definition": definition}))
    assert list(complete_task(task_of(), {}, tmp_path).labels) == ["b", "a"]
    assert complete_task(task_of(), {}, tmp_path / "absent").labels is None  # an error of its own follows


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (table("a", "a"), "only the label 'a', expected two or more"),
        (table("a", "b", ""), "line 4: y: found '', expected a label"),
        (table("a", "b", " "), "line 4: y: found ' '"),
    ],
)
def test_rejects_unusable_labels(complete, content, expected):
    with pytest.raises(DataError) as caught:
        complete("f.csv", content)
    assert "f.csv" in str(caught.value) and expected in str(caught.value)


@pytest.mark.parametrize("value", ["null", "[1]", '{"a": 1}'])
def test_rejects_values_that_are_no_labels(complete, value):
    with pytest.raises(DataError, match=r"line 1: y: found .*, expected a label"):
        complete("f.jsonl", f'{{"x": "글", "y": {value}}}')


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (["a"] * 5 + ["b"] * 4, "1 of 2 labels occur fewer than 5 times and can hardly be learned: 'b' 4"),
        (["1", "1.0", "2"] * 5, "the labels '1', '1.0' look alike"),
        (["Good", "good ", "bad"] * 5, "the labels 'Good', 'good ' look alike"),
        (["\uac00", "\u1100\u1161", "x"] * 5, "look alike"),
    ],
)
def test_warns_of_doubtful_labels(complete, caplog, labels, expected):
    complete("f.csv", table(*labels))
    (warning,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert "f.csv: " in warning and expected in warning


def test_tags_of_both_forms(tmp_path, complete):
    names = {"O": "O", "B-LOC": "B-LOC", "B-PER": "B-PER", "I-PER": "I-PER"}
    assert list(readable_tags(tmp_path, ["I-PER", "O", "B-PER", "B-LOC"], None).items()) == list(names.items())
    names = {"O": "O", "LOC-B": "B-LOC", "PER-B": "B-PER", "PER-I": "I-PER", "x-y-B": "B-x-y"}
    assert list(readable_tags(tmp_path, ["x-y-B", "PER-I", "O", "PER-B", "LOC-B"], None).items()) == list(names.items())
    tagged = complete("f.conll", "가 PER-B\n나 O\n" * 5, kind="tagging", text="sentence", label="tags")
    assert tagged.labels == {"O": "O", "PER-B": "B-PER"}


@pytest.mark.parametrize(
    ("tags", "wrong"),
    [
        (["O", "B-PER", "LOC-B", "I-PER"], "LOC-B"),
        (["O", "PER"], "PER"),
        (["o", "B-PER"], "o"),
        (["B-", "B-PER"], "B-"),
        (["", "O"], ""),
    ],
)
def test_rejects_tags_of_other_forms(tmp_path, tags, wrong):
    with pytest.raises(DataError) as caught:
        readable_tags(tmp_path / "f", tags, None)
    title, *listed = str(caught.value).split("\n")
    assert f"{tmp_path}/f: the tags must be O and" in title
    assert listed == [f"  - {wrong!r}"]
