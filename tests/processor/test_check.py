import subprocess
import sys

import pytest

from processor import TASKS
from processor.check import Row, check_tasks, describe, overlaps
from src.errors import DataError
from tests.conftest import ROOT, SAMPLE


def test_labels_duplicates_and_rows_worth_a_look():
    rows = [
        Row(("좋다",), "1"),
        Row(("좋다",), "0"),
        Row(("좋다",), "1"),
        Row(("으" * 30,), "0"),
        Row((" ",), "0"),
        Row(("https://a.b/c http://d",), "1"),
        Row(("깨\ufffd",), "1"),
        Row(("가\x1c나",), "1"),
        Row(("긴 글 " * 1000,), "1"),
    ]
    assert describe(rows, TASKS["nsmc"]) == [
        "labels: 0 3, 1 6",
        "duplicates: 2 rows repeat an earlier one; 1 texts have more than one label",
        "empty text: 1 rows, such as row 4",
        "one character over and over: 1 rows, such as row 3",
        "nothing but an address: 1 rows, such as row 5",
        "the replacement character U+FFFD: 1 rows, such as row 6",
        "a control character: 1 rows, such as row 7",
        "more than 2,000 characters: 1 rows, such as row 8",
    ]


def test_pairs():
    rows = [Row(("NS", "가"), "0"), Row(("나", "나"), "1"), Row(("다", "라"), "1")]
    assert describe(rows, TASKS["paws"])[1:] == [
        "placeholder 'NS': 1 rows, such as row 0",
        "the same text twice: 1 rows, such as row 1",
    ]


def test_texts_that_two_files_share():
    one, other = [Row(("가",), "0"), Row(("나",), "0")], [Row(("나",), "1")]
    assert overlaps({"train": one, "dev": other, "test": []}) == ["overlap: 1 texts are in train and in dev"]


def test_the_sample_is_fine(capsys):
    check_tasks(list(TASKS), SAMPLE)
    printed = capsys.readouterr().out
    assert printed.count("not the published file, which has") == 20
    assert f"{SAMPLE}/nsmc/ratings_train.txt: 400 rows, not the published file, which has 150,000" in printed


def test_a_malformed_file_ends_with_code_2(tmp_path):
    folder = tmp_path / "korsts"
    folder.mkdir()
    (folder / "sts-dev.tsv").write_text("genre\tscore\n")
    (folder / "sts-test.tsv").write_bytes((SAMPLE / "korsts" / "sts-test.tsv").read_bytes())
    command = [sys.executable, "-m", "processor.download", "korsts", "--check", "--data_dir", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    assert "sts-dev.tsv, line 1: found the header" in done.stderr
    assert "sts-test.tsv: 100 rows" in done.stdout  # the others are looked at all the same
    assert "sts-train.tsv: not there" in done.stdout


def test_nothing_to_check(tmp_path):
    with pytest.raises(DataError, match="none of the files is in"):
        check_tasks(["nsmc"], tmp_path)
