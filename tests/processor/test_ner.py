import hashlib
import json

import numpy as np
import pytest
from transformers import BertTokenizer

from processor import TASKS
from processor.data_files import describe_files
from processor.ner import Sentence, encode, load_split, read_sentences
from src.errors import DataError

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


def test_rows(tmp_path):
    assert read_sentences(write(tmp_path, "김하은은 서울에 .\tPER-B LOC-B O"), TASK) == [
        Sentence(["김하은은", "서울에", "."], ["PER-B", "LOC-B", "O"])
    ]


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ("a b c\tO O", "line 2: found 3 words and 2 tags, expected as many"),
        ("a  b\tO O", "line 2: found 3 words and 2 tags"),  # two spaces: an empty word
        ("a b\tO PER", "line 2: found the tag 'PER', expected one of O, PER-B, PER-I"),
        ("a b O O", "line 2: found 1 columns, expected 2 (sentence, tags)"),
    ],
)
def test_mistakes_in_a_row(tmp_path, row, expected):
    with pytest.raises(DataError) as caught:
        read_sentences(write(tmp_path, "a\tO", row), TASK)
    assert f"{tmp_path}/f.tsv" in str(caught.value)
    assert expected in str(caught.value)


def test_the_label_sits_on_the_first_piece_of_a_word(tokenizer):
    tensors = encode([Sentence(["ab", "c"], ["PER-B", "O"]), Sentence(["d"], ["PER-I"])], TASK, tokenizer, 128)
    assert rows_of(tensors, "input_ids") == [[2, 5, 11, 7, 3], [2, 8, 3]]
    assert rows_of(tensors, "label_ids") == [[-100, 1, -100, 0, -100], [-100, 2, -100]]
    assert rows_of(tensors, "token_type_ids") == [[0, 0, 0, 0, 0], [0, 0, 0]]
    assert [tensors[name].dtype for name in ("input_ids", "token_type_ids", "offsets", "label_ids")] == [
        np.int32,
        np.uint8,
        np.int64,
        np.int32,
    ]


@pytest.mark.parametrize("words", [["a", "\u200b", "b"], ["a", "\x01", "b"], ["a", "한", "b"]])
def test_a_word_without_pieces_becomes_unknown(tokenizer, words):
    tensors = encode([Sentence(words, ["O", "PER-B", "O"])], TASK, tokenizer, 128)
    assert rows_of(tensors, "input_ids") == [[2, 5, 1, 6, 3]]
    assert rows_of(tensors, "label_ids") == [[-100, 0, 1, 0, -100]]


def test_a_sentence_of_words_without_pieces(tokenizer):
    assert rows_of(encode([Sentence(["\u200b"], ["O"])], TASK, tokenizer, 128), "input_ids") == [[2, 1, 3]]


def test_a_long_sentence_is_cut_at_its_end(tokenizer):
    tensors = encode([Sentence(["ab"] * 5, ["O"] * 5)], TASK, tokenizer, 8)
    assert rows_of(tensors, "input_ids") == [[2, 5, 11, 5, 11, 5, 11, 3]]
    tensors = encode([Sentence(["ab"] * 5, ["O"] * 5)], TASK, tokenizer, 9)
    assert rows_of(tensors, "label_ids") == [[-100, 0, -100, 0, -100, 0, -100, 0, -100]]


def test_words_cut_off_count_in_f1_full_and_are_said(tmp_path, tokenizer, settings, caplog):
    """Two sentences of five one-word entities each; the first keeps its words, of the second six more are cut off."""
    rows = ["a b c d e\tPER-B LOC-B PER-B LOC-B PER-B", " ".join("abcde" * 2) + "\t" + " ".join(["PER-B"] * 10)]
    for _ in range(2):  # built, and from the cache
        caplog.clear()
        with caplog.at_level("INFO"):
            split = split_of(tmp_path, tokenizer, settings, *rows, max_seq_len=8)
        assert "test: 1 sentences lose 4 words to max_seq_len" in caplog.text
    perfect = split.features.tensors["label_ids"].astype(np.int64)
    scores = split.score(np.where(perfect == -100, 0, perfect))
    assert (scores["f1"], scores["precision"], scores["recall"]) == (1.0, 1.0, 1.0)
    assert scores["f1_full"] == pytest.approx(2 * 1 * (11 / 15) / (1 + 11 / 15))
    lines = list(split.predictions(np.where(perfect == -100, 0, perfect))["predictions.tsv"])
    assert lines[:2] == ["sentence\tword\tlabel\tprediction", "0\ta\tPER-B\tPER-B"]
    assert lines[-1] == "1\te\tPER-B\tO"
    assert len(lines) == 1 + 15
    assert "PER" in split.report(perfect)


def test_predictions_of_other_pieces_do_not_count(tmp_path, tokenizer, settings):
    split = split_of(tmp_path, tokenizer, settings, "ab c\tPER-B O")
    assert split.tags(np.array([9, 1, 9, 0, 9])) == [["PER-B", "O"]]


def test_a_file_that_changed_is_not_scored(tmp_path, tokenizer, settings):
    split = split_of(tmp_path, tokenizer, settings, "a b\tPER-B O")
    write(tmp_path, "a b\tO O")
    with pytest.raises(DataError, match="has changed since the run began"):
        split.score(np.zeros(4, np.int64))


def test_rows_equal_the_original_s(shared, tmp_path, settings):
    """Each row's hash over [input_ids, label_ids] equals the original code's, with the published vocabulary."""
    (tmp_path / "vocab.txt").write_bytes((shared / "vocab" / "koelectra-vocab.txt").read_bytes())
    tokenizer = BertTokenizer.from_pretrained(tmp_path, do_lower_case=False)
    expected = json.loads((shared / "reference" / "features" / "naver-ner.test.128.json").read_text())["rows"]
    file = describe_files({"test": shared / "data" / "standin" / "naver-ner" / "test.tsv"})["test"]
    tensors = load_split("test", file, settings("naver-ner"), TASK, tokenizer).features.tensors
    rows = zip(rows_of(tensors, "input_ids"), rows_of(tensors, "label_ids"), strict=True)
    found = [hashlib.sha1(json.dumps(row).encode()).hexdigest()[:10] for row in rows]
    assert len(found) == len(expected) == 1000
    assert sum(one != other for one, other in zip(found, expected, strict=True)) == 0


def test_a_part_held_out_has_its_share_of_rare_entities(tmp_path, tokenizer, settings):
    rows = ["a b\tPER-B O"] * 60 + ["c\tO"] * 20 + ["d e\tMAT-B O"] * 20
    train, dev = split_of(tmp_path, tokenizer, settings, *rows).hold_out(0.1)
    assert (len(train), len(dev)) == (90, 10)
    assert sorted(sentence.tags[0] for sentence in dev.sentences) == ["MAT-B"] * 2 + ["O"] * 2 + ["PER-B"] * 6
    assert len(dev.tags(np.zeros(int(dev.features.lengths.sum()), np.int64))) == 10
