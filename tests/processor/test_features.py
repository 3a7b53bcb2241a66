import hashlib
import stat
from dataclasses import replace

import numpy as np
import pytest

from processor import TASKS
from processor.data_files import describe_files
from processor.features import cached_features, fingerprint
from processor.readers import read_lines, read_tsv
from processor.split import hold_out
from src.data import DataFile, Features
from src.errors import ConfigError, DataError
from tests.conftest import SAMPLE

ROWS = {"input_ids": np.array([2, 3, 2, 9, 3], np.int32), "offsets": np.array([0, 2, 5])}


def write(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_lines_end_at_newlines_alone(tmp_path):
    path = write(tmp_path / "f", "a\x1cb\u2028c\r\nd\n")
    assert list(read_lines(path)) == [(1, "a\x1cb\u2028c"), (2, "d")]


def test_a_byte_order_mark_and_a_missing_last_newline_do_no_harm(tmp_path):
    assert list(read_lines(write(tmp_path / "f", b"\xef\xbb\xbfx\ty\n1\t2"))) == [(1, "x\ty"), (2, "1\t2")]


def test_a_file_without_a_header(tmp_path):
    path = write(tmp_path / "f", "1\t2\n3\t4\n")
    assert list(read_tsv(path, ["x", "y"], has_header=False)) == [(1, ["1", "2"]), (2, ["3", "4"])]


def test_quotes_and_spaces_are_text(tmp_path):
    path = write(tmp_path / "f", 'x\ty\n"a\t b \n\t\n')
    assert list(read_tsv(path, ["x", "y"])) == [(2, ['"a', " b "]), (3, ["", ""])]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("x\n1\n", "line 1: found the header ['x'], expected ['x', 'y']"),
        ("1\t2\n3\t4\n", "line 1: found the header ['1', '2']"),
        ("x\ty\n1\t2\n3\n4\t5\t6\n", "line 3: found 1 columns, expected 2 (x, y)\n  - line 4: found 3 columns"),
        ("x\ty\n1\t2\n\n", "line 3: found 1 columns"),
        ("x\ty\n", "found a header and no rows"),
        (b"x\ty\n1\t2\n3\t" + "네".encode("cp949") + b"\n", "line 3: found the bytes b3 d7 0a, expected UTF-8"),
    ],
)
def test_malformed_files(tmp_path, content, expected):
    path = write(tmp_path / "f.tsv", content)
    with pytest.raises(DataError) as caught:
        list(read_tsv(path, ["x", "y"]))
    assert str(path) in str(caught.value)
    assert expected in str(caught.value)


def test_missing_and_empty_files_are_named_together(tmp_path):
    write(tmp_path / "empty", "")
    with pytest.raises(DataError) as caught:
        describe_files({"train": tmp_path / "none", "test": tmp_path / "empty"})
    assert f"{tmp_path}/none (train): no such file" in str(caught.value)
    assert f"{tmp_path}/empty (test): the file is empty" in str(caught.value)


def test_a_file_is_hashed_and_compared_with_the_published_one(tmp_path, shared):
    write(tmp_path / "dev.tsv", "question1\n")
    files = describe_files({"dev": tmp_path / "dev.tsv", "test": shared / "data/standin/question-pair/test.tsv"})
    assert files["dev"].sha256 == hashlib.sha256(b"question1\n").hexdigest()
    assert [file.status for file in files.values()] == ["other", "published"]


def test_features_come_from_the_cache_the_second_time(tmp_path):
    first = cached_features(tmp_path / "cache", "rows", lambda: Features(ROWS, {"skipped": 3}))
    second = cached_features(tmp_path / "cache", "rows", pytest.fail)
    assert len(first) == len(second) == 2
    assert second.lengths.tolist() == [2, 3]
    assert second.counts == {"skipped": 3}
    assert {name: (array.dtype, array.tolist()) for name, array in second.tensors.items()} == {
        name: (array.dtype, array.tolist()) for name, array in ROWS.items()
    }
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["rows.safetensors"]


@pytest.mark.parametrize("size", [0, 7, 100])
def test_a_torn_cache_is_built_again(tmp_path, size, caplog):
    cached_features(tmp_path, "rows", lambda: Features(ROWS, {"skipped": 3}))
    path = tmp_path / "rows.safetensors"
    path.write_bytes(path.read_bytes()[:size])
    assert len(cached_features(tmp_path, "rows", lambda: Features(ROWS, {"skipped": 3}))) == 2
    assert "cannot be read" in caplog.text
    assert len(cached_features(tmp_path, "rows", pytest.fail)) == 2


def test_a_cache_that_cannot_be_written_is_one_line(tmp_path, caplog):
    folder = write(tmp_path / "a-file", "in the way")
    for _ in ("train", "test"):
        assert len(cached_features(folder, "rows", lambda: Features(ROWS))) == 2
    assert caplog.text.count("not cached") == 1
    assert not stat.S_ISDIR(folder.stat().st_mode)


def test_the_fingerprint_covers_what_decides_features(tmp_path):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(SAMPLE / "tiny-electra")
    lowered = AutoTokenizer.from_pretrained(SAMPLE / "tiny-electra", do_lower_case=True)
    file, other = DataFile(tmp_path / "a", "1" * 64, "other"), DataFile(tmp_path / "a", "2" * 64, "other")
    nsmc, lengths = TASKS["nsmc"], {"max_seq_len": 128}
    base = fingerprint(file, nsmc, tokenizer, lengths)
    tokenizer("문장", truncation=True, max_length=2)  # leaves state in the tokenizer that changes nothing
    assert fingerprint(DataFile(tmp_path / "b", "1" * 64, "published"), nsmc, tokenizer, lengths) == base
    others = {
        fingerprint(other, nsmc, tokenizer, lengths),
        fingerprint(file, TASKS["hate-speech"], tokenizer, lengths),
        fingerprint(file, nsmc, lowered, lengths),
        fingerprint(file, nsmc, tokenizer, {"max_seq_len": 64}),
        fingerprint(file, replace(nsmc, labels=dict(reversed(nsmc.labels.items()))), tokenizer, lengths),  # other ids
    }
    assert len(others | {base}) == 6


def test_rows_held_out_are_a_share_of_every_stratum():
    strata = ["a"] * 50 + ["b"] * 30 + ["c"] * 20
    train, held = hold_out(strata, 0.1)
    assert sorted([*train, *held]) == list(range(100))
    assert [sum(strata[row] == name for row in held) for name in "abc"] == [5, 3, 2]
    assert held.tolist() == hold_out(strata, 0.1)[1].tolist()
    for ratio in (0.001, 0.999):
        with pytest.raises(ConfigError, match="dev_ratio"):
            hold_out(strata, ratio)


def test_a_subset_of_rows():
    features = Features(
        {"input_ids": np.array([1, 2, 2, 3, 3, 3]), "offsets": np.array([0, 1, 3, 6]), "labels": np.array([7, 8, 9])}
    )
    part = features.subset(np.array([2, 0]))
    assert {name: values.tolist() for name, values in part.tensors.items()} == {
        "input_ids": [3, 3, 3, 1],
        "offsets": [0, 3, 4],
        "labels": [9, 7],
    }
