import hashlib

import pytest

from processor.check import check_tasks
from processor.data_files import describe_files
from processor.definition import TASKS
from src.common.errors import DataError


def test_reports_missing_and_empty_files_together(tmp_path):
    (tmp_path / "empty").write_text("")
    (tmp_path / "folder").mkdir()
    with pytest.raises(DataError) as caught:
        describe_files({"train": tmp_path / "none", "dev": tmp_path / "folder", "test": tmp_path / "empty"})
    assert f"{tmp_path}/none (train): no such file" in str(caught.value)
    assert f"{tmp_path}/folder (dev): is a folder" in str(caught.value)
    assert f"{tmp_path}/empty (test): the file is empty" in str(caught.value)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 14628807\n", "git lfs pull"),
        (b"\n\n<!DOCTYPE html>\n<html lang='en'>", "a web page"),
        (b"\xef\xbb\xbf<HTML>", "a web page"),
        (b"PK\x03\x04\x14", "a zip archive"),
        (b"\x1f\x8b\x08", "gzip"),
    ],
)
def test_names_files_that_are_not_data(tmp_path, content, expected):
    path = tmp_path / "nsmc" / "ratings_train.txt"
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.raises(DataError, match=rf"{path} \(train\) .*{expected}"):
        describe_files({"train": path})
    with pytest.raises(DataError, match=rf"{path} .*{expected}"):
        check_tasks(["nsmc"], tmp_path)


def test_hashes_a_file_and_compares_it_with_the_published_one(tmp_path, shared):
    (tmp_path / "dev.tsv").write_text("question1\n")
    files = describe_files(
        {"dev": tmp_path / "dev.tsv", "test": shared / "data/standin/question-pair/test.tsv"}, TASKS["question-pair"].files
    )
    assert files["dev"].sha256 == hashlib.sha256(b"question1\n").hexdigest()
    assert [file.status for file in files.values()] == ["other", "published"]
