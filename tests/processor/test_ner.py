import hashlib
import json

import numpy as np
import pytest
from transformers import BertTokenizer

from processor.data_files import describe_files
from processor.definition import TASKS, make_task
from processor.kinds import load_split
from processor.ner import NerInputs, RawText, Sentence, encode, find_entities, read_sentences
from src.common.errors import DataError

TASK = TASKS["naver-ner"]


def write(tmp_path, *rows):
    path = tmp_path / "f.tsv"
    path.write_text("\n".join(rows) + "\n")
    return path


def rows_of(tensors, name):
    return [part.tolist() for part in np.split(tensors[name], tensors["offsets"][1:-1])]


def split_of(tmp_path, tokenizer, settings, *rows, max_seq_len=128):
    file = describe_files({"test": write(tmp_path, *rows)})["test"]
    return load_split("test", file, settings("naver-ner", max_seq_len=max_seq_len), TASK, tokenizer)


def test_reads_rows(tmp_path):
    assert read_sentences(write(tmp_path, "김하은은 서울에 .\tPER-B LOC-B O"), TASK) == [
        Sentence(["김하은은", "서울에", "."], ["PER-B", "LOC-B", "O"])
    ]


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ("a b c\tO O", "line 2: found 3 words and 2 tags"),
        ("a  b\tO O", "line 2: found 3 words and 2 tags"),  # two spaces: an empty word
        ("a b\tO PER", "line 2: found the tag 'PER', expected one of O, PER-B, PER-I"),
        ("a b O O", "line 2: found 1 columns, expected 2 (sentence, tags)"),
    ],
)
def test_rejects_malformed_rows(tmp_path, row, expected):
    with pytest.raises(DataError) as caught:
        read_sentences(write(tmp_path, "a\tO", row), TASK)
    assert f"{tmp_path}/f.tsv" in str(caught.value)
    assert expected in str(caught.value)


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        ({"x": ["a", "b"], "y": ["O", "PER-B"]}, Sentence(["a", "b"], ["O", "PER-B"])),
        ({"x": "a b", "y": "O PER-B"}, Sentence(["a", "b"], ["O", "PER-B"])),
        ({"x": ["a", "b"], "y": ["O"]}, "line 1: found 2 words and 1 tags"),
        ({"x": [], "y": []}, "line 1: x: found [], expected a list"),
        ({"x": ["a"], "y": None}, "line 1: y: found null, expected a list"),
        ({"x": ["a", 1], "y": ["O", "O"]}, "line 1: x: found 1, expected a text"),
        ({"x": ["a"], "y": [["O"]]}, 'line 1: y: found ["O"], expected a label'),
        ({"x": ["a"], "y": [1]}, "line 1: found the tag '1', expected one of O, PER-B"),
    ],
)
def test_words_and_tags_of_json(tmp_path, record, expected):
    task = make_task("own", {"kind": "tagging", "text": "x", "label": "y", "labels": {"O": "O", "PER-B": "B-PER"}}, "f")
    path = tmp_path / "f.jsonl"
    path.write_text(json.dumps(record))
    if isinstance(expected, Sentence):
        assert read_sentences(path, task) == [expected]
        return
    with pytest.raises(DataError) as caught:
        read_sentences(path, task)
    assert expected in str(caught.value)


def test_labels_the_first_piece_of_a_word(tokenizer):
    tensors = encode([Sentence(["ab", "c"], ["PER-B", "O"]), Sentence(["d"], ["PER-I"])], TASK, tokenizer, 128)
    assert rows_of(tensors, "input_ids") == [[2, 5, 11, 7, 3], [2, 8, 3]]
    assert rows_of(tensors, "label_ids") == [[-100, 1, -100, 0, -100], [-100, 2, -100]]
    assert rows_of(tensors, "token_type_ids") == [[0, 0, 0, 0, 0], [0, 0, 0]]
    dtypes = {"input_ids": "int32", "token_type_ids": "uint8", "offsets": "int64", "label_ids": "int32"}
    assert {name: str(tensor.dtype) for name, tensor in tensors.items()} == dtypes | {"cut": "int32", "decomposed": "uint8"}


@pytest.mark.parametrize("words", [["a", "\u200b", "b"], ["a", "\x01", "b"], ["a", "한", "b"]])
def test_a_word_without_pieces_becomes_unknown(tokenizer, words):
    tensors = encode([Sentence(words, ["O", "PER-B", "O"])], TASK, tokenizer, 128)
    assert rows_of(tensors, "input_ids") == [[2, 5, 1, 6, 3]]
    assert rows_of(tensors, "label_ids") == [[-100, 0, 1, 0, -100]]


def test_encodes_a_sentence_of_words_without_pieces(tokenizer):
    assert rows_of(encode([Sentence(["\u200b"], ["O"])], TASK, tokenizer, 128), "input_ids") == [[2, 1, 3]]


def test_cuts_a_long_sentence_at_its_end(tokenizer):
    tensors = encode([Sentence(["ab"] * 5, ["O"] * 5)], TASK, tokenizer, 8)
    assert rows_of(tensors, "input_ids") == [[2, 5, 11, 5, 11, 5, 11, 3]]
    assert tensors["cut"].tolist() == [2]  # words
    tensors = encode([Sentence(["ab"] * 5, ["O"] * 5)], TASK, tokenizer, 9)
    assert rows_of(tensors, "label_ids") == [[-100, 0, -100, 0, -100, 0, -100, 0, -100]]
    assert tensors["cut"].tolist() == [1]  # and a piece of the word before it


def test_counts_words_cut_off_in_f1_full(tmp_path, tokenizer, settings, caplog):
    """The first sentence keeps its five one-word entities, the second loses four of ten."""
    rows = ["a b c d e\tPER-B LOC-B PER-B LOC-B PER-B", " ".join("abcde" * 2) + "\t" + " ".join(["PER-B"] * 10)]
    for _ in range(2):  # built, and from the cache
        caplog.clear()
        with caplog.at_level("INFO"):
            split = split_of(tmp_path, tokenizer, settings, *rows, max_seq_len=8)
        assert "max_seq_len cuts 4 words off 1 sentences" in caplog.text
    perfect = split.features.tensors["label_ids"].astype(np.int64)
    decoded = split.decode(np.where(perfect == -100, 0, perfect))
    scores = split.score(decoded)
    assert (scores["f1"], scores["precision"], scores["recall"]) == (1.0, 1.0, 1.0)
    assert scores["f1_full"] == pytest.approx(2 * 1 * (11 / 15) / (1 + 11 / 15))
    found = split.analysis(decoded).label_scores  # over all words
    assert [score.precision for score in found] == [1.0, 1.0]
    assert sum(score.right for score in found) / sum(score.gold for score in found) == pytest.approx(11 / 15)
    lines = list(split.predictions(decoded)["predictions.tsv"])
    assert lines[:2] == ["sentence\tword\tlabel\tprediction", "0\ta\tPER-B\tPER-B"]
    assert lines[-1] == "1\te\tPER-B\tO"
    assert len(lines) == 1 + 15
    assert "PER" in split.report(decoded)


def test_scores_sentences_without_entities_with_cautions(tmp_path, tokenizer, settings):
    split = split_of(tmp_path, tokenizer, settings, *["a b\tO O"] * 30)
    decoded = split.decode(np.zeros(int(split.features.lengths.sum()), np.int64))
    assert split.score(decoded) == {"f1": 0.0, "precision": 0.0, "recall": 0.0, "f1_full": 0.0}
    assert split.report(decoded) == ""
    same, absent = split.cautions(decoded)
    assert "same ('O')" in same
    assert "14 of the labels never occur in the file (PER, FLD, AFW, ...)" in absent


def test_an_entity_type_occurs_if_any_of_its_tags_does(tmp_path, tokenizer, settings):
    counts = split_of(tmp_path, tokenizer, settings, "a b\tPER-B O", "a b c\tDAT-B DAT-I DAT-I").label_counts()
    assert {label: count for label, count in counts.items() if count} == {"O": 1, "PER": 1, "DAT": 3}
    assert len(counts) == 15


def test_ignores_predictions_of_other_pieces(tmp_path, tokenizer, settings):
    split = split_of(tmp_path, tokenizer, settings, "ab c\tPER-B O")
    assert split.decode(np.array([9, 1, 9, 0, 9])) == [["PER-B", "O"]]


def test_rejects_a_file_that_changed(tmp_path, tokenizer, settings):
    split = split_of(tmp_path, tokenizer, settings, "a b\tPER-B O")
    write(tmp_path, "a b\tO O")
    with pytest.raises(DataError, match=r"f\.tsv has changed"):
        split.score([["O", "O"]])


def test_features_equal_the_original(shared, tmp_path, settings):
    """Each row's hash over [input_ids, label_ids] equals the original code's, with the published vocabulary."""
    (tmp_path / "vocab.txt").write_bytes((shared / "vocab" / "koelectra-vocab.txt").read_bytes())
    tokenizer = BertTokenizer.from_pretrained(tmp_path, do_lower_case=False)
    expected = json.loads((shared / "reference" / "features" / "naver-ner.test.128.json").read_text())["rows"]
    file = describe_files({"test": shared / "data" / "standin" / "naver-ner" / "test.tsv"})["test"]
    tensors = load_split("test", file, settings("naver-ner"), TASK, tokenizer).features.tensors
    rows = zip(rows_of(tensors, "input_ids"), rows_of(tensors, "label_ids"), strict=True)
    hashes = [hashlib.sha1(json.dumps(row).encode()).hexdigest()[:10] for row in rows]
    assert len(hashes) == len(expected) == 1000
    assert sum(one != other for one, other in zip(hashes, expected, strict=True)) == 0


def test_holds_out_a_share_of_rare_entities(tmp_path, tokenizer, settings):
    rows = ["a b\tPER-B O"] * 60 + ["c\tO"] * 20 + ["d e\tMAT-B O"] * 20
    train, dev = split_of(tmp_path, tokenizer, settings, *rows).hold_out(0.1)
    assert (len(train), len(dev)) == (90, 10)
    assert sorted(sentence.tags[0] for sentence in dev.examples) == ["MAT-B"] * 2 + ["O"] * 2 + ["PER-B"] * 6
    assert len(dev.decode(np.zeros(int(dev.features.lengths.sum()), np.int64))) == 10


def test_words_of_an_input_are_split_as_in_training(settings):
    own = make_task("own", {"kind": "tagging", "text": "text", "label": "tags", "labels": {"O": "O", "B-X": "B-X"}}, "own.json")
    inputs, of_own = (NerInputs(task, None, settings("naver-ner")) for task in (TASK, own))
    for text, words in [
        ("a b", ["a", "b"]),
        ("a\u00a0b", ["a\u00a0b"]),
        ("a  b ", ["a", "", "b", ""]),
        ("a\t\u3000b", ["a\t\u3000b"]),
    ]:
        for each in ("words", "sentence"):
            assert inputs.example(inputs.values_of({each: text})).words == words
        assert of_own.example(of_own.values_of({"text": text})).words == words
        raw = inputs.example(inputs.values_of({"text": text}))
        assert (raw.words, raw.text) == ([word for word in words if word], text)
    assert inputs.values_of({"text": "a", "sentence": "b"}) == ["b"]
    assert inputs.example(["a b"]).text is None
    assert isinstance(inputs.values_of({"text": "a"})[0], RawText)


@pytest.mark.parametrize(
    ("tags", "labels"),
    [
        (["B-PER", "I-PER", "O", "B-LOC", "B-LOC"], ["O", "B-PER", "I-PER", "B-LOC"]),
        (["PER-B", "PER-I", "O", "LOC-B", "LOC-B"], ["O", "PER-B", "PER-I", "LOC-B"]),
    ],
)
def test_entities_have_their_characters_in_the_text(tags, labels):
    text = " 김 하은은  은 서울 서울"
    found = find_entities(text, ["김", "하은은", "은", "서울", "서울"], tags, labels)
    assert found == [
        {"type": "PER", "text": "김 하은은", "start": 1, "end": 6},
        {"type": "LOC", "text": "서울", "start": 10, "end": 12},
        {"type": "LOC", "text": "서울", "start": 13, "end": 15},
    ]
    assert find_entities("a", ["a"], ["O"], labels) == []
