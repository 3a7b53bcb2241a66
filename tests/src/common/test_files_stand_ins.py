import io
import zipfile

import pytest

from src.common.files import find_archive, find_stand_in
from tests.families import write_pointer


def test_recognizes_a_pointer_of_git_lfs(tmp_path):
    write_pointer(tmp_path / "vocab.txt")
    assert "git lfs pull" in find_stand_in((tmp_path / "vocab.txt").read_bytes())


@pytest.mark.parametrize("start", ["<!DOCTYPE html>\n", "\n <html lang='ko'>", "\ufeff<!doctype HTML>"])
def test_recognizes_a_web_page(start):
    assert "web page" in find_stand_in(f"{start}<body>404</body>".encode())


@pytest.mark.parametrize(("content", "kind"), [(b"PK\x03\x04\x14", "zip"), (b"\x1f\x8b\x08", "gzip")])
def test_recognizes_archives(content, kind):
    assert kind in find_archive(content)
    assert find_stand_in(content) == ""


@pytest.mark.parametrize(
    ("names", "kind"),
    [
        (["[Content_Types].xml", "xl/workbook.xml"], "Excel"),
        (["[Content_Types].xml", "xl/workbook.bin"], "Excel"),
        (["[Content_Types].xml", "word/document.xml"], "Word"),
        (["train.csv", "xl.csv"], "zip archive"),
    ],
)
def test_recognizes_what_is_in_an_archive(names, kind):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in names:
            archive.writestr(name, "x")
    found = find_archive(buffer.getvalue())
    assert kind in found and ("CSV UTF-8" in found) == (kind != "zip archive")
    assert "CSV UTF-8" in find_archive(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(100))


@pytest.mark.parametrize(
    "content", ["", "version\tlabel\n", "<b>bold</b>\t1\n", "{}", "\0\1\2", "PK\tlabel\n", "버전 version https://git-lfs"]
)
def test_any_other_content_is_the_file_itself(content):
    assert find_stand_in(content.encode()) == find_archive(content.encode()) == ""
