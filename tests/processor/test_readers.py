import pytest

from processor.readers import read_lines, read_tsv
from src.errors import DataError


def write(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_splits_lines_at_newlines_only(tmp_path):
    path = write(tmp_path / "f", "a\x1cb\u2028c\r\nd\n")
    assert list(read_lines(path)) == [(1, "a\x1cb\u2028c"), (2, "d")]


def test_reads_a_byte_order_mark_and_a_missing_last_newline(tmp_path):
    assert list(read_lines(write(tmp_path / "f", b"\xef\xbb\xbfx\ty\n1\t2"))) == [(1, "x\ty"), (2, "1\t2")]


def test_reads_a_file_without_a_header(tmp_path):
    path = write(tmp_path / "f", "1\t2\n3\t4\n")
    assert list(read_tsv(path, ["x", "y"], has_header=False)) == [(1, ["1", "2"]), (2, ["3", "4"])]


def test_keeps_quotes_and_spaces(tmp_path):
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
        ("x\ty\r1\t2\r", "its lines end with CR alone"),
        (b"x\ty\n1\t2\n3\t" + "네".encode("cp949") + b"\n", "line 3: found the bytes b3 d7 0a, expected UTF-8"),
    ],
)
def test_rejects_malformed_files(tmp_path, content, expected):
    path = write(tmp_path / "f.tsv", content)
    with pytest.raises(DataError) as caught:
        list(read_tsv(path, ["x", "y"]))
    assert str(path) in str(caught.value)
    assert expected in str(caught.value)
