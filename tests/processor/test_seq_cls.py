import hashlib
import json

import numpy as np
import pytest
from transformers import BertTokenizer

from processor.data_files import describe_files
from processor.definition import TASKS, make_task
from processor.kinds import load_split
from processor.seq_cls import SequenceSplit, read_examples, read_rows
from processor.seq_features import SequenceExample
from src.common.errors import ConfigError, DataError
from src.data.task import DataFile, Features, Task
from tests.conftest import SAMPLE

HEADERS = {name: "\t".join(task.columns) for name, task in TASKS.items()}


def read(tmp_path, task, *rows):
    path = tmp_path / "f.tsv"
    path.write_text("\n".join([HEADERS[task], *rows]) + "\n")
    return read_examples(path, TASKS[task])[0]


def rows_of(tensors, name="input_ids"):
    return [part.tolist() for part in np.split(tensors[name], tensors["offsets"][1:-1])]


def test_reads_rows_of_each_task(tmp_path):
    assert read(tmp_path, "nsmc", "1\t좋다\t1", "2\t\t0") == [SequenceExample(("좋다",), "1"), SequenceExample(("",), "0")]
    assert read(tmp_path, "kornli", "가\t나\tneutral") == [SequenceExample(("가", "나"), "neutral")]
    assert read(tmp_path, "korsts", "g\tf\t2012\t0001\t3.80\t가\t나") == [SequenceExample(("가", "나"), 3.8)]
    assert read(tmp_path, "hate-speech", "제목\t댓글\tnone\thate") == [SequenceExample(("댓글",), "hate")]


def test_spellings_of_one_label_in_all_files_and_in_one(tmp_path):
    """Words of a training file, numbers elsewhere."""
    base = {"kind": "classification", "text": "x", "label": "y", "labels": {"0": "no", "1": "yes"}}
    task = make_task("own", base | {"spellings": {"N": "0"}, "per_file": {"a.tsv": {"spellings": {"no": "0", "yes": "1"}}}}, "f")
    for name, labels in (("a.tsv", ["yes", "no", "1"]), ("b.tsv", ["1", "N", "0"])):
        (tmp_path / name).write_text("x\ty\n" + "".join(f"text\t{label}\n" for label in labels))
    assert [example.label for example in read_examples(tmp_path / "a.tsv", task)[0]] == ["1", "0", "1"]
    assert [row.labels for row in read_rows(tmp_path / "b.tsv", task)] == [("1",), ("0",), ("0",)]
    (tmp_path / "a.tsv").write_text("x\ty\ntext\tN\n")
    with pytest.raises(DataError, match=r"a\.tsv.*\n.*line 2: y: found 'N', expected one of 0, 1"):
        read_examples(tmp_path / "a.tsv", task)


@pytest.mark.parametrize(
    ("task", "rows"),
    [("paws", ["1\t\tb\t0", "2\ta\t\t1", "3\ta\tb\t1"]), ("question-pair", ["\tb\t0", "a\t\t1", "a\tb\t1"])],
)
def test_skips_and_counts_pairs_with_an_empty_side(tmp_path, task, rows, tokenizer, settings, caplog):
    assert read(tmp_path, task, *rows) == [SequenceExample(("a", "b"), "1")]
    file = DataFile(tmp_path / "f.tsv", "0" * 64, "other")
    for _ in range(2):  # built, and from the cache
        caplog.clear()
        with caplog.at_level("INFO"):
            assert len(load_split("dev", file, settings(task), TASKS[task], tokenizer)) == 1
        assert "dev: 2 rows with an empty" in caplog.text


def test_rejects_a_file_that_changed(tmp_path, tokenizer, settings):
    read(tmp_path, "nsmc", "1\ta\t1")
    path = tmp_path / "f.tsv"
    file = DataFile(path, hashlib.sha256(path.read_bytes()).hexdigest(), "other")
    split = load_split("test", file, settings(), TASKS["nsmc"], tokenizer)
    read(tmp_path, "nsmc", "1\tb\t0")
    with pytest.raises(DataError, match=r"f\.tsv has changed"):
        list(split.predictions(split.decode(np.zeros((1, 2), np.float32)))["predictions.tsv"])


@pytest.mark.parametrize(
    ("task", "row", "expected"),
    [
        ("nsmc", "1\t좋다\t2", "line 2: label: found '2', expected one of 0, 1"),
        ("nsmc", "1\t좋다\t1 ", "line 2: label: found '1 ', expected one of 0, 1"),
        ("kornli", "가\t나\tNeutral", "line 2: gold_label: found 'Neutral', expected one of contradiction, entailment, neutral"),
        ("korsts", "g\tf\ty\t1\tmany\t가\t나", "line 2: score: found 'many', expected a number"),
        ("korsts", "g\tf\ty\t1\tnan\t가\t나", "line 2: score: found 'nan', expected a finite number"),
        ("korsts", "g\tf\ty\t1\t1e39\t가\t나", "line 2: score: found '1e39', expected a finite number"),  # not in float32
        ("paws", "1\t\t나\t0", "every row has an empty sentence1 or sentence2"),
    ],
)
def test_rejects_malformed_rows(tmp_path, task, row, expected):
    with pytest.raises(DataError) as caught:
        read(tmp_path, task, row)
    assert f"{tmp_path}/f.tsv" in str(caught.value)
    assert expected in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "record", "expected"),
    [
        ("classification", {"x": None, "y": 1}, "x: found null, expected a text"),
        ("classification", {"x": "\ud800", "y": 1}, "x: contains an unpaired surrogate"),
        ("classification", {"x": "글", "y": 3}, "y: found '3', expected one of 1, 2"),
        ("classification", {"x": "글", "y": "\ud800"}, "y: contains an unpaired surrogate"),
        ("regression", {"x": "글", "y": None}, "y: found None, expected a number"),
        ("regression", {"x": "글", "y": 10**400}, "expected a finite number"),
        ("regression", {"x": "글", "y": True}, "y: found True, expected a number"),
        ("regression", {"x": "글", "y": "1_5"}, "y: found '1_5', expected a number"),
    ],
)
def test_values_of_json(tmp_path, kind, record, expected):
    labels = {"labels": {"1": "bad", "2": "good"}} if kind == "classification" else {}
    task = make_task("own", {"kind": kind, "text": "x", "label": "y"} | labels, "f")
    path = tmp_path / "f.jsonl"
    path.write_text(json.dumps({"x": "글", "y": 1}))
    assert read_examples(path, task) == ([SequenceExample(("글",), "1" if labels else 1.0)], 0)
    path.write_text(json.dumps(record))
    with pytest.raises(DataError) as caught:
        read_examples(path, task)
    assert f"line 1: {expected}" in str(caught.value) or (
        "line 1: y: found 1" in str(caught.value) and expected in str(caught.value)
    )


def test_predictions_have_one_line_per_row(tmp_path, tokenizer, settings):
    path = tmp_path / "f.csv"
    path.write_text('x,y\n"a\n\tb",1\nc,2\n')
    task = make_task("own", {"kind": "classification", "text": "x", "label": "y", "labels": {"1": "1", "2": "2"}}, "f")
    split = load_split("test", describe_files({"test": path})["test"], settings(), task, tokenizer)
    lines = list(split.prediction_lines(split.decode(np.zeros((2, 2), np.float32))))
    assert [line.split("\t")[1] for line in lines] == ["x", "a\\n\\tb", "c"]


def test_columns_of_texts_with_the_names_of_others(tmp_path, tokenizer, settings):
    path = tmp_path / "f.csv"
    path.write_text("prediction,prob_1,y\na,b,1\nc,d,2\n")
    definition = {"kind": "classification", "text": ["prediction", "prob_1"], "label": "y", "labels": {"1": "1", "2": "2"}}
    task = make_task("own", definition, "f")
    split = load_split("test", describe_files({"test": path})["test"], settings(), task, tokenizer)
    header = next(split.prediction_lines(split.decode(np.zeros((2, 2), np.float32)))).split("\t")
    assert header == ["index", "text_prediction", "text_prob_1", "label", "prediction", "prob_1", "prob_2"]


def split_of(task, labels, examples=()):
    features = Features({"offsets": np.arange(len(labels) + 1), "labels": np.array(labels)})
    task = task if isinstance(task, Task) else TASKS[task]
    split = SequenceSplit("test", task, DataFile(None, "", "other"), features, settings=None, tokenizer=None, source="test")
    split.__dict__["examples"] = list(examples)
    return split


def test_a_text_column_of_predictions_never_has_the_name_of_another_column():
    columns = {"kind": "classification", "text": ["prediction", "labels"], "label": "y", "labels": {"0": "0", "1": "1"}}
    split = split_of(make_task("own", columns, "f"), [0], [SequenceExample(("가", "나"), "0")])
    header, _ = split.prediction_lines(split.decode(np.zeros((1, 2), np.float32)))
    assert header == "index\ttext_prediction\tlabels\tlabel\tprediction\tprob_0\tprob_1"


def test_predicts_classes():
    split = split_of("paws", [0, 1], [SequenceExample(("가", "나"), "0"), SequenceExample(("다", "라"), "1")])
    decoded = split.decode(np.array([[0.0, 0.0], [0.0, np.log(3.0)]], np.float32))
    assert list(split.predictions(decoded)["predictions.tsv"]) == [
        "index\tsentence1\tsentence2\tlabel\tprediction\tprob_0\tprob_1",
        "0\t가\t나\t0\t0\t0.500000\t0.500000",
        "1\t다\t라\t1\t1\t0.250000\t0.750000",
    ]
    assert split.score(decoded) == {"acc": 1.0, "acc_clean": 1.0}
    assert split.analysis(decoded).confusion == [[1, 0], [0, 1]]


def test_predicts_scores():
    split = split_of("korsts", [1.0, 2.0, 3.0], [SequenceExample(("가", "나"), float(row - 1)) for row in (2, 3, 4)])
    decoded = split.decode(np.array([[0.1], [0.2], [0.3]], np.float32))
    lines = list(split.predictions(decoded)["predictions.tsv"])
    assert lines[:2] == ["index\tsentence1\tsentence2\tlabel\tprediction", "0\t가\t나\t1.0\t0.1"]
    assert split.score(decoded)["spearmanr"] == pytest.approx(1.0)
    assert split.analysis(decoded).points == [(1.0, 0.1), (2.0, 0.2), (3.0, 0.3)]


@pytest.mark.parametrize(
    ("task", "labels", "logits", "expected"),
    [
        ("nsmc", [0, 1] * 15, [[0, 1], [1, 0]] * 15, []),
        ("nsmc", [0, 1] * 14 + [0], [[0, 1], [1, 0]] * 14 + [[1, 0]], ["29 examples"]),
        ("nsmc", [0, 1] * 15, [[0, 1]] * 30, ["same ('1')"]),
        ("kornli", [0, 1] * 15, [[1, 0, 0], [0, 1, 0]] * 15, ["1 of the labels never occur in the file (neutral)"]),
        ("kornli", [0, 0], [[1, 0, 0]] * 2, ["labels in the file", "2 examples", "same ('contra", "2 of the labels"]),
        ("korsts", [0.0, 5.0] * 15, [[1.25]] * 30, ["same ('1.25')"]),
        ("korsts", [1.0] * 30, [[0.5], [1.0]] * 15, ["labels in the file are the same"]),
        ("nsmc", [0], [[0, 1]], ["1 example", "1 of the labels"]),
    ],
)
def test_cautions(task, labels, logits, expected):
    split = split_of(task, labels)
    cautions = split.cautions(split.decode(np.array(logits, np.float32)))
    assert len(cautions) == len(expected)
    assert all(part in caution for part, caution in zip(expected, cautions, strict=True)), cautions


REFERENCES = [
    ("hate-speech", "test", "val.tsv"),
    ("kornli", "dev", "xnli.dev.ko.tsv"),
    ("korsts", "dev", "sts-dev.tsv"),
    ("paws", "dev", "dev_2k.tsv"),
    ("question-pair", "dev", "dev.tsv"),
]


@pytest.mark.parametrize(("task", "split", "name"), REFERENCES)
def test_features_equal_the_original(shared, tmp_path, settings, task, split, name):
    """Each row's hash over [input_ids, token_type_ids, label] equals the original code's, with the published vocabulary."""
    (tmp_path / "vocab.txt").write_bytes((shared / "vocab" / "koelectra-vocab.txt").read_bytes())
    tokenizer = BertTokenizer.from_pretrained(tmp_path, do_lower_case=False)
    expected = json.loads((shared / "reference" / "features" / f"{task}.{split}.128.json").read_text())["rows"]
    file = describe_files({split: shared / "data" / "standin" / task / name})[split]
    loaded = load_split(split, file, settings(task), TASKS[task], tokenizer)
    tensors = loaded.features.tensors
    # scores are compared as in the file: the features have them in float32
    labels = tensors["labels"].tolist() if TASKS[task].labels else [example.label for example in loaded.examples]
    rows = zip(rows_of(tensors), rows_of(tensors, "token_type_ids"), labels, strict=True)
    hashes = [hashlib.sha1(json.dumps(row).encode()).hexdigest()[:10] for row in rows]
    assert len(hashes) == len(expected)
    assert sum(one != other for one, other in zip(hashes, expected, strict=True)) == 0


def test_scores_paws_without_its_placeholders_too(shared, tmp_path):
    texts = [("가", "나"), ("NS", "나"), ("가", "NS"), ("NS 가", "나")]
    split = split_of("paws", [0, 0, 0, 1], [SequenceExample(pair, "0") for pair in texts])
    logits = np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0], [0.0, 1.0]], np.float32)
    assert split.score(split.decode(logits)) == {"acc": 0.5, "acc_clean": 1.0}
    examples, _ = read_examples(shared / "data" / "published" / "paws" / "test_2k.tsv", TASKS["paws"])
    assert sum("NS" not in example.texts for example in examples) == 1972


def test_holds_out_the_same_share_of_every_label(settings):
    tokenizer = BertTokenizer.from_pretrained(SAMPLE / "tiny-electra")
    chosen = settings("hate-speech")
    file = describe_files({"train": chosen.data_files["train"]})["train"]
    whole = load_split("train", file, chosen, TASKS["hate-speech"], tokenizer)
    train, dev = whole.hold_out(0.2)
    assert (train.name, dev.name, len(train), len(dev)) == ("train", "dev", 360, 90)
    assert sorted([*train.rows, *dev.rows]) == list(range(450))
    assert np.bincount(dev.features.tensors["labels"]).tolist() == [30, 30, 30]
    for part in (train, dev):
        assert part.examples == [whole.examples[row] for row in part.rows]
        for name in ("input_ids", "token_type_ids"):
            expected = rows_of(whole.features.tensors, name)
            assert rows_of(part.features.tensors, name) == [expected[row] for row in part.rows]
    rest, test = train.hold_out(0.25, "test")  # of what is left
    assert (test.name, len(rest), len(test)) == ("test", 270, 90)
    assert sorted([*rest.rows, *test.rows]) == train.rows.tolist()
    assert test.examples == [whole.examples[row] for row in test.rows]
    with pytest.raises(ConfigError, match=r"test_ratio = 0\.001 holds out 0 of 450 rows"):
        whole.hold_out(0.001, "test")
    again = load_split("train", file, chosen, TASKS["hate-speech"], tokenizer).hold_out(0.2)[1]
    assert again.rows.tolist() == dev.rows.tolist()
