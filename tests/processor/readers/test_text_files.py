import pytest

from processor.readers.text_files import read_lines, read_text
from src.common.errors import DataError

KOREAN = "번호\t글\n1\t정말 좋다\n"


@pytest.fixture
def write(tmp_path):
    """write(content) returns the path of a file with these bytes, or this text in UTF-8."""

    def make(content):
        path = tmp_path / "f.tsv"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return make


def test_splits_lines_at_newlines_only(write):
    assert list(read_lines(write("a\x1cb\u2028c\r\nd\n"))) == [(1, "a\x1cb\u2028c"), (2, "d")]


def test_reads_a_byte_order_mark_and_a_missing_last_newline(write):
    assert list(read_lines(write(b"\xef\xbb\xbfx\ty\n1\t2"))) == [(1, "x\ty"), (2, "1\t2")]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp949", "euc-kr", "utf-16", "utf-16-le"])
def test_reads_other_encodings(write, encoding):
    assert read_text(write(KOREAN.encode(encoding)), encoding) == KOREAN


@pytest.mark.parametrize(
    ("content", "encoding", "expected"),
    [
        (KOREAN.encode("cp949"), "utf-8", "line 1: found the bytes b9 f8 c8 a3, expected UTF-8. It seems to be CP949"),
        (
            b"a\n" + "네".encode("cp949") + b"\n",
            "utf-8",
            "line 2: found the bytes b3 d7 0a, expected UTF-8. It seems to be CP949",
        ),
        (KOREAN.encode("cp949"), "utf-8", '"encoding": "cp949" in the task\'s definition or pass --encoding cp949'),
        (KOREAN.encode("utf-16"), "utf-8", '"encoding": "utf-16"'),
        (KOREAN.encode(), "cp949", '"encoding": "utf-8"'),
        (KOREAN.encode()[:-5], "utf-8", "line 2: found the bytes ec a2, expected UTF-8. Convert"),  # cut off: no guess
        ("펲시\n똠얌\n".encode("cp949"), "euc-kr", '"encoding": "cp949"'),  # both are outside of EUC-KR
        ("좋다\n똠얌\n".encode("cp949"), "euc-kr", "line 2: found the bytes 8c 63 be e4, expected EUC-KR. It seems to be CP949"),
        ("좋다\n똠얌\n".encode("cp949"), "ks_c_5601-1987", "pass --encoding cp949"),
        ("좋다\n똠얌\n".encode(), "euc-kr", "pass --encoding utf-8"),
        (b"\x80\xff", "utf-8", "line 1: found the bytes 80 ff, expected UTF-8. Convert the file to UTF-8."),
    ],
)
def test_names_the_likely_encoding(write, content, encoding, expected):
    path = write(content)
    with pytest.raises(DataError) as caught:
        read_text(path, encoding)
    assert str(path) in str(caught.value) and expected in str(caught.value)


def test_rejects_lines_that_end_with_cr_alone(write):
    with pytest.raises(DataError, match=r"f\.tsv: its lines end with CR alone"):
        read_lines(write("x\ty\r1\t2\r"))
