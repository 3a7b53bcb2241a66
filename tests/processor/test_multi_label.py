import numpy as np
import pytest

from processor.data_files import describe_files
from processor.definition import make_task
from processor.kinds import load_split
from processor.multi_label import MultiLabelInputs, MultiLabelSplit, best_threshold, decode_logits, sigmoid
from processor.seq_cls import read_examples, read_rows
from processor.seq_features import SequenceExample
from src.common.errors import CheckpointError, DataError
from src.data.task import DataFile, Features
from tests.src.helpers import DEFAULTS

DEFINITION = {"kind": "multi_label", "columns": ["text", "topics"], "text": "text", "label": "topics"}
TASK = make_task("topics", DEFINITION | {"labels": {"a": "art", "b": "business"}}, "f")
LOGIT = {0.1: np.log(1 / 9), 0.2: np.log(1 / 4), 0.5: 0.0, 0.75: np.log(3)}


def logits(*rows):
    """Return the logits of rows of probabilities."""
    return np.array([[LOGIT[probability] for probability in row] for row in rows], np.float32)


def split_of(labels, name="test", threshold=0.5, examples=()):
    features = Features({"offsets": np.arange(len(labels) + 1), "labels": np.array(labels, np.float32)})
    settings = DEFAULTS.model_copy(update={"threshold": threshold})
    split = MultiLabelSplit(name, TASK, DataFile(None, "", "other"), features, settings, tokenizer=None, source=name)
    split.__dict__["examples"] = list(examples)
    return split


def write(tmp_path, text):
    path = tmp_path / "f.tsv"
    path.write_text(text)
    return path


def test_reads_labels_in_one_column_and_in_several(tmp_path):
    path = write(tmp_path, "text\ttopics\nx\tb,a\ny\t\n")
    assert read_examples(path, TASK)[0] == [SequenceExample(("x",), ("a", "b")), SequenceExample(("y",), ())]
    assert [(row.texts, row.labels) for row in read_rows(path, TASK)] == [(("x",), ("a", "b")), (("y",), ())]
    columns = make_task("topics", DEFINITION | {"columns": ["b", "text", "a"], "label": ["a", "b"]}, "f")
    path = write(tmp_path, "b\ttext\ta\n1\tx\t0\n0\ty\t0\n")
    assert read_examples(path, columns)[0] == [SequenceExample(("x",), ("b",)), SequenceExample(("y",), ())]
    assert [row.labels for row in read_rows(path, columns)] == [("b",), ()]


def test_names_the_line_and_column_of_a_wrong_label(tmp_path):
    with pytest.raises(DataError, match=r"f\.tsv.*\n.*line 3: topics: found 'c', expected labels among a, b"):
        read_examples(write(tmp_path, "text\ttopics\nx\ta\ny\tc\n"), TASK)


def test_builds_features_and_logs_labels(tmp_path, tokenizer, settings, caplog):
    path = write(tmp_path, "text\ttopics\na\ta\nb\ta,b\nc\t\n")
    file = describe_files({"train": path})["train"]
    for _ in range(2):  # built, and from the cache
        with caplog.at_level("INFO"):
            split = load_split("train", file, settings(), TASK, tokenizer)
        assert split.features.tensors["labels"].tolist() == [[1, 0], [1, 1], [0, 0]]
        assert split.features.tensors["labels"].dtype == np.float32
    assert "train: labels: a 2, b 1" in caplog.text and "train: 1 rows without a label" in caplog.text


def test_predicts_every_label_from_the_threshold_on():
    decoded = decode_logits(logits([0.5, 0.2], [0.1, 0.2], [0.75, 0.75]), 0.5)
    assert decoded.values.tolist() == [[1, 0], [0, 0], [1, 1]]
    assert decoded.probabilities == pytest.approx(np.array([[0.5, 0.2], [0.1, 0.2], [0.75, 0.75]]))
    assert decode_logits(logits([0.5, 0.2]), 0.15).values.tolist() == [[1, 1]]


def test_the_sigmoid_of_extreme_logits():
    assert sigmoid(np.array([-1e9, 0, 1e9], np.float32)) == pytest.approx([0, 0.5, 1])


@pytest.mark.parametrize(
    ("probabilities", "labels", "expected"),
    [
        ([0.1, 0.3, 0.6, 0.9], [0, 0, 1, 1], 0.5),  # 0.3 to 0.6 separates them: 0.5 is as good as any
        ([0.1, 0.2, 0.4, 0.9], [0, 0, 1, 1], 0.3),  # half-way
        ([0.1, 0.7, 0.8, 0.9], [0, 0, 1, 1], 0.75),
        # Micro F1 is 2/3 for the highest alone (1 of 1 right, 1 of 2 found) and for all (2 of 4, 2 of 2).
        ([0.1, 0.6, 0.7, 0.8], [1, 0, 0, 1], 0.75),
        ([0.55, 0.6, 0.7, 0.8], [1, 0, 0, 1], 0.5),
        ([0.1, 0.2, 0.3, 0.4], [0, 0, 0, 0], 0.5),  # nothing to find
        ([0.4, 0.4, 0.4, 0.4], [1, 0, 1, 1], 0.2),  # all or none
        ([0.0, 0.0, 1.0, 1.0], [0, 0, 1, 1], 0.5),
    ],
)
def test_the_threshold_with_the_best_micro_f1(probabilities, labels, expected):
    as_rows = np.array(probabilities).reshape(2, 2), np.array(labels, np.float32).reshape(2, 2)
    assert best_threshold(*as_rows) == pytest.approx(expected)


def test_the_best_threshold_is_that_of_an_exhaustive_search():
    from sklearn.metrics import f1_score

    rng = np.random.default_rng(0)
    for _ in range(10):
        probabilities = rng.integers(0, 101, (20, 3)) / 100
        labels = (rng.random((20, 3)) < probabilities).astype(int)

        def f1(threshold, probabilities=probabilities, labels=labels):
            return f1_score(labels, probabilities >= threshold, average="micro")

        assert f1(best_threshold(probabilities, labels)) == pytest.approx(max(f1(value / 100) for value in range(101)))


def test_dev_chooses_the_threshold_and_test_uses_it():
    dev, test = split_of([[0, 1], [0, 1]], "dev", "dev"), split_of([[1, 1]], "test", "dev")
    scores = dev.score(dev.decode(logits([0.1, 0.2], [0.1, 0.2]), {}))
    assert scores == {"micro_f1": 1.0, "macro_f1": 0.5, "samples_f1": 1.0, "threshold": pytest.approx(0.15)}
    decoded = test.decode(logits([0.1, 0.2]), scores)
    assert (decoded.values.tolist(), decoded.threshold) == ([[0, 1]], scores["threshold"])
    assert split_of([[1, 1]]).decode(logits([0.1, 0.2]), scores).threshold == 0.5


def test_writes_labels_and_probabilities():
    examples = [SequenceExample(("가",), ("a", "b")), SequenceExample(("나",), ())]
    split = split_of([[1, 1], [0, 0]], examples=examples)
    decoded = split.decode(logits([0.75, 0.2], [0.1, 0.5]))
    assert [(error.gold, error.prediction, error.size) for error in split.analysis(decoded).errors] == [
        ("a, b", "a", 0.8),
        ("none", "b", 0.5),
    ]
    assert list(split.predictions(decoded)["predictions.tsv"]) == [
        "index\ttext\tlabel\tprediction\tprob_a\tprob_b",
        '0\t가\t["a", "b"]\t["a"]\t0.750000\t0.200000',
        '1\t나\t[]\t["b"]\t0.100000\t0.500000',
    ]


@pytest.mark.parametrize(
    ("labels", "predicted", "expected"),
    [
        ([[1, 0], [0, 1]] * 15, [[0.75, 0.2], [0.2, 0.2]] * 15, []),
        ([[1, 0], [0, 1]] * 15, [[0.75, 0.2], [0.75, 0.1]] * 15, ["""same ('["a"]')"""]),
        ([[1, 0], [0, 0]] * 15, [[0.75, 0.2], [0.2, 0.2]] * 15, ["1 of the labels never occur in the file (b)"]),
        ([[1, 0]] * 30, [[0.75, 0.2], [0.2, 0.2]] * 15, ["labels in the file are the same", "never occur in the file (b)"]),
    ],
)
def test_cautions(labels, predicted, expected):
    split = split_of(labels)
    cautions = split.cautions(split.decode(logits(*predicted)))
    assert len(cautions) == len(expected)
    assert all(part in caution for part, caution in zip(expected, cautions, strict=True)), cautions


def test_holds_out_the_same_share_of_every_label():
    labels = [[1, 0]] * 40 + [[1, 1]] * 10 + [[0, 1]] * 10 + [[0, 0]] * 40
    kept, held_out = split_of(labels).divide(0.1)
    assert sorted([*kept, *held_out]) == list(range(100))
    assert np.array(labels)[held_out].sum(axis=0).tolist() == [5, 2]


def test_results_of_inputs():
    inputs = MultiLabelInputs(TASK, None, DEFAULTS)
    assert inputs.example(["가"]) == SequenceExample(("가",), ())
    first, second = inputs.results([None] * 2, None, logits([0.75, 0.2], [0.1, 0.2]))
    assert first == {"labels": ["a"], "names": ["art"], "probabilities": {"a": 0.75, "b": 0.2}}
    assert second == {"labels": [], "probabilities": {"a": 0.1, "b": 0.2}}
    undecided = MultiLabelInputs(TASK, None, DEFAULTS.model_copy(update={"threshold": "dev"}))
    with pytest.raises(CheckpointError, match="threshold"):
        next(undecided.results([None], None, logits([0.1, 0.2])))
