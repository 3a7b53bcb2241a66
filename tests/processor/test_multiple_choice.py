import itertools

import numpy as np
import pytest

from processor.data_files import describe_files
from processor.definition import make_task
from processor.kinds import KINDS, load_split
from processor.labels import complete_task
from processor.multiple_choice import ChoiceInputs, ChoiceSplit, labels_of
from processor.seq_cls import read_examples, read_rows
from processor.seq_features import SequenceExample
from src.common.errors import ConfigError, DataError

DEFINITION = {"kind": "multiple_choice", "text": ["said", "asked"], "choices": ["one", "two"], "label": "right"}
TASK = make_task("choices", DEFINITION | {"labels": {"1": "first", "2": "second"}}, "f")
FILE = "asked\tsaid\tright\ttwo\tone\ne\ta b\t2\td\tc c\nc\td\t1\te\ta\nd\tb\t2\te\tb\n"


@pytest.fixture
def load(tmp_path, tokenizer, settings):
    """load(content) loads a TSV file as the training file of a task, by default TASK."""

    def split_of(content, task=TASK, **changes):
        path = tmp_path / "f.tsv"
        path.write_text(content, encoding="utf-8")
        return load_split("train", describe_files({"train": path})["train"], settings(**changes), task, tokenizer)

    return split_of


def ids(tokenizer, *pair):
    return tokenizer(*pair)["input_ids"]


def test_a_row_is_a_sequence_for_each_choice(load, tokenizer, caplog):
    """[CLS] said asked [SEP] choice [SEP], as the tokenizer makes it of two texts."""
    for _ in range(2):  # built, and from the cache
        with caplog.at_level("INFO"):
            features = load(FILE).features
        tensors, offsets = features.tensors, features.tensors["offsets"]
        sequences = [tensors["input_ids"][start:end].tolist() for start, end in itertools.pairwise(offsets)]
        pairs = [("a b e", "c c"), ("a b e", "d"), ("d c", "a"), ("d c", "e"), ("b d", "b"), ("b d", "e")]
        assert sequences == [ids(tokenizer, *pair) for pair in pairs]
        assert sequences[0] == [2, 5, 6, 9, 3, 7, 7, 3]
        assert tensors["token_type_ids"][:8].tolist() == [0, 0, 0, 0, 0, 1, 1, 1]
        assert tensors["labels"].tolist() == [1, 0, 1]
        assert (len(features), features.per_row) == (3, 2)
        assert features.lengths.tolist() == [15, 12, 12] and features.widths.tolist() == [8, 6, 6]
    assert "6 choices, 6.5 tokens per choice" in caplog.text and "train: labels: 1 1, 2 2" in caplog.text


def test_parts_of_a_file_keep_the_choices_of_a_row_together(load):
    split = load(FILE)
    part = split.select("train", np.array([0, 2]))
    assert part.features.tensors["labels"].tolist() == [1, 1]
    assert part.features.sequence_lengths.tolist() == [8, 7, 6, 6]
    assert part.features.tensors["input_ids"].tolist() == [*split.features.tensors["input_ids"][[*range(15), *range(27, 39)]]]
    assert [example.texts for example in part.examples] == [("a b", "e", "c c", "d"), ("b", "d", "b", "e")]
    assert part.facts["rows"] == 2 and part.figures["rows"] == 4
    nothing = split.features.subset(np.array([], int))
    assert (len(nothing), len(nothing.lengths), len(nothing.widths)) == (0, 0, 0)


def test_long_rows_lose_the_end_of_the_longer_text(load):
    features = load("asked\tsaid\tright\ttwo\tone\nb\ta a a a a a\t2\td\tc c\nc\td\t1\te\ta\n", max_seq_len=8).features
    assert features.tensors["input_ids"][:8].tolist() == [2, 5, 5, 5, 3, 7, 7, 3]
    assert features.tensors["cut"].tolist() == [4, 3, 0, 0]


def test_the_data_check_sees_all_texts_of_a_row(tmp_path):
    (tmp_path / "f.tsv").write_text(FILE)
    assert read_rows(tmp_path / "f.tsv", TASK)[0].texts == ("a b", "e", "c c", "d")
    assert [row.labels for row in read_rows(tmp_path / "f.tsv", TASK)] == [("2",), ("1",), ("2",)]


def test_a_wrong_label_and_a_choice_that_is_no_text(tmp_path):
    (tmp_path / "f.tsv").write_text(FILE.replace("c\td\t1", "c\td\t3"))
    with pytest.raises(DataError, match=r"f\.tsv.*\n.*line 3: right: found '3', expected one of 1, 2"):
        read_examples(tmp_path / "f.tsv", TASK)
    (tmp_path / "f.jsonl").write_text('{"said": "a", "asked": "b", "one": 1, "two": "c", "right": 1}\n')
    with pytest.raises(DataError, match=r"f\.jsonl.*\n.*line 1: one: found 1, expected a text"):
        read_examples(tmp_path / "f.jsonl", TASK)


@pytest.mark.parametrize(
    ("found", "expected"),
    [("0 2", "0 1 2"), ("0 1 2", "0 1 2"), ("3 1", "1 2 3"), ("C A", "A B C"), ("b a", "a b c")],
)
def test_labels_of_a_training_file(tmp_path, found, expected):
    three = TASK.model_copy(update={"choices": ("x", "y", "z"), "labels": None})
    assert list(labels_of(tmp_path, found.split(), three)) == expected.split()


@pytest.mark.parametrize(
    ("found", "expected"),
    [("1 2", "which may be 0 to 2 or 1 to 3"), ("0 3", "expected 0 to 2 or 1 to 3 or A to C or a to c"), ("x y z", "'x'")],
)
def test_labels_that_name_no_choice(tmp_path, found, expected):
    three = TASK.model_copy(update={"choices": ("x", "y", "z"), "labels": None})
    with pytest.raises(DataError) as caught:
        labels_of(tmp_path / "f", found.split(), three)
    assert str(tmp_path / "f") in str(caught.value) and expected in str(caught.value) and '"labels"' in str(caught.value)


def test_takes_the_labels_of_the_training_file(tmp_path):
    (tmp_path / "f.tsv").write_text(FILE)
    files = describe_files({"train": tmp_path / "f.tsv"})
    task = make_task("choices", DEFINITION, "f")
    assert complete_task(task, files).labels == {"1": "1", "2": "2"}
    (tmp_path / "f.tsv").write_text(FILE.replace("\t2\t", "\t1\t"))
    with pytest.raises(DataError, match="0 to 1 or 1 to 2"):
        complete_task(task, describe_files({"train": tmp_path / "f.tsv"}))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"choices": "one"}, "choices: name the columns of the answers to choose from, two or more"),
        ({"labels": {"1": "1", "2": "2", "3": "3"}}, "labels: found 3, expected 2: one for each of choices, in their order"),
        ({"columns": ["said", "asked", "one", "tow", "right"]}, "choices: 'two' is not one of the columns"),
        ({"label": ["one", "two"]}, "label: a multiple_choice task has one column"),
        ({"metric": "accuracy"}, "metric = 'accuracy': does not score multiple_choice tasks; choose from choice_f1."),
        ({"kind": "classification", "metric": "accuracy"}, "choices: a classification task has none"),
    ],
)
def test_wrong_definitions(changes, expected):
    with pytest.raises(ConfigError) as caught:
        make_task("choices", DEFINITION | changes, "f")
    assert expected in str(caught.value)


def test_inputs_of_json_and_of_tables(tokenizer, settings):
    inputs = ChoiceInputs(TASK, tokenizer, settings())
    assert (inputs.keys, inputs.columns) == (("text", "pair", "choices"), ("text", "pair", "one", "two"))
    expected = SequenceExample(("a", "b", "c", "d"), "1")
    assert inputs.example(["a", "b", ["c", "d"]]) == inputs.example(["a", "b", "c", "d"]) == expected
    for choices in (["c"], ["c", "d", "e"], "c d", None):
        with pytest.raises(ValueError, match=r"choices: found .*, expected a list of 2 texts"):
            inputs.example(["a", "b", choices])
    with pytest.raises(ValueError, match="two: found 1, expected a text"):
        inputs.example(["a", "b", ["c", 1]])
    results = list(inputs.results([expected], inputs.encode([expected]), np.array([[0.0, np.log(3)]], np.float32)))
    assert results == [{"label": "2", "choice": "d", "name": "second", "probabilities": {"1": 0.25, "2": 0.75}}]


def test_lines_of_predictions_and_scores(load):
    split = load(FILE)
    decoded = split.decode(np.array([[0, 1], [2, 0], [3, 0]], np.float32))
    assert isinstance(split, ChoiceSplit) and KINDS["multiple_choice"].split is ChoiceSplit
    lines = [line.split("\t") for line in split.prediction_lines(decoded)]
    assert lines[0] == ["index", "said", "asked", "one", "two", "label", "prediction", "prob_1", "prob_2"]
    assert [line[:7] for line in lines[1:]] == [
        ["0", "a b", "e", "c c", "d", "2", "2"],
        ["1", "d", "c", "a", "e", "1", "1"],
        ["2", "b", "d", "b", "e", "2", "1"],
    ]
    # Choice 1: 1 of 2 predictions right, 1 of 1 found; choice 2: 1 of 1, 1 of 2. Both F1 are 2/3.
    assert split.score(decoded) == pytest.approx({"f1": 2 / 3, "precision": 0.75, "recall": 0.75, "acc": 2 / 3})
    analysis = split.analysis(decoded)
    assert (analysis.labels, analysis.confusion) == (["1 (first)", "2 (second)"], [[1, 0], [1, 1]])
    (error,) = analysis.errors
    assert (error.row, tuple(error.texts), error.gold, error.prediction) == ("2", ("b", "d", "b", "e"), "2 (second)", "1 (first)")
