import pytest

from src.file_kinds import find_stand_in
from tests.families import write_pointer


def test_recognizes_a_pointer_of_git_lfs(tmp_path):
    write_pointer(tmp_path / "vocab.txt")
    assert "git lfs pull" in find_stand_in(tmp_path / "vocab.txt")


@pytest.mark.parametrize("start", ["<!DOCTYPE html>\n", "\n <html lang='ko'>", "\ufeff<!doctype HTML>"])
def test_recognizes_a_web_page(tmp_path, start):
    (tmp_path / "data.json").write_text(start + "<body>404</body>", encoding="utf-8")
    assert "web page" in find_stand_in(tmp_path / "data.json")


@pytest.mark.parametrize("content", ["", "version\tlabel\n", "<b>bold</b>\t1\n", "{}", "\0\1\2"])
def test_any_other_content_is_the_file_itself(tmp_path, content):
    (tmp_path / "file").write_text(content)
    assert find_stand_in(tmp_path / "file") == ""
