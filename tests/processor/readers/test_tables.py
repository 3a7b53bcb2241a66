import csv

import pytest

from processor.definition import make_task
from processor.readers.tables import FORMATS, SUFFIXES, format_of, read_records
from src.common.errors import DataError
from src.data.task import Task


def task_of(**changes):
    definition = {"kind": "classification", "text": "x", "label": "y"} | changes
    return make_task("own", definition, "f")


@pytest.fixture
def read(tmp_path):
    """read("f.csv", content, columns=...) returns the rows of a file, for a task of the columns x and y with these changes."""

    def rows_of(name, content, **changes):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return list(read_records(path, task_of(**changes)))

    return rows_of


COLUMNS = {"columns": ["x", "y"]}


def test_every_format_has_a_reader_and_a_suffix(tmp_path):
    formats = set(Task.model_json_schema()["properties"]["format"]["anyOf"][0]["enum"])
    assert {*FORMATS, "squad"} == formats  # a file of questions has a reader of its own
    assert set(SUFFIXES.values()) == set(FORMATS)
    assert format_of(tmp_path / "a.CSV", task_of()) == "csv"
    assert format_of(tmp_path / "a.CSV", task_of(format="tsv")) == "tsv"
    with pytest.raises(DataError, match=r"a\.txt: the suffix '.txt' does not tell the format.*\"format\".*tsv, csv, jsonl"):
        format_of(tmp_path / "a.txt", task_of())


def test_reads_a_table_without_a_header(read):
    assert read("f.tsv", "1\t2\n3\t4\n", header=False, **COLUMNS) == [(1, ["1", "2"]), (2, ["3", "4"])]
    assert read("f.csv", "1,2\n3,4\n", header=False, **COLUMNS) == [(1, ["1", "2"]), (2, ["3", "4"])]


def test_a_header_of_a_table_without_one(read):
    with pytest.raises(DataError, match=r'line 1: found the names of the columns .*"header": true'):
        read("f.csv", "x,y\n1,2\n", header=False, **COLUMNS)


def test_takes_the_names_of_columns_from_the_first_line(read):
    assert read("f.tsv", "y\tid\tx\n1\t2\t3\n") == [(2, ["3", "1"])]
    assert read("f.csv", "y,,x,\n1,2,3,\n", text=["x", "y"]) == [(2, ["3", "1", "1"])]  # columns without a name are no matter


def test_keeps_quotes_and_spaces_in_tsv(read):
    assert read("f.tsv", 'x\ty\n"a\t b \n\t\n', **COLUMNS) == [(2, ['"a', " b "]), (3, ["", ""])]


def test_reads_quoted_commas_quotes_and_line_breaks_in_csv(read):
    content = 'x,y\r\n"a, ""b""\nc\r\n\r\nd",1\r\n\r\ne "f", 2\r\n"",""\r\n'
    assert read("f.csv", content) == [(2, ['a, "b"\nc\r\n\r\nd', "1"]), (7, ['e "f"', " 2"]), (8, ["", ""])]


def test_reads_other_encodings_and_long_values(read):
    assert read("f.csv", "x,y\n글,가\n".encode("cp949"), encoding="cp949") == [(2, ["글", "가"])]
    assert read("f.csv", "\ufeffx,y\n글,가\n") == [(2, ["글", "가"])]
    assert read("f.csv", f"x,y\n{'글' * 200_000},가\n")[0][1][0] == "글" * 200_000


def test_reads_another_delimiter_with_the_quoting_of_csv(read):
    content = 'x\ty\r\n"a, ""b""\tc\nd"\t1\r\ne "f"\t2\r\n'
    assert read("f.txt", content, format="csv", delimiter="\t") == [(2, ['a, "b"\tc\nd', "1"]), (4, ['e "f"', "2"])]
    assert read("f.csv", "x;y\n1,5;2\n", delimiter=";") == [(2, ["1,5", "2"])]
    with pytest.raises(DataError, match=r"f\.txt, line 3: the row that begins here is not CSV"):
        read("f.txt", 'x\ty\na\tb\n"c\td\n', format="csv", delimiter="\t")
    with pytest.raises(DataError, match=r"f\.txt, line 1: found the columns a,b, separated by tabs, expected 'x'"):
        read("f.txt", "a,b\n1,2\n", format="csv", delimiter="\t")
    with pytest.raises(DataError, match=r"f\.txt, line 1: the columns are separated by ',', expected tabs"):
        read("f.txt", "x,y\na,b\n", format="csv", delimiter="\t")
    with pytest.raises(DataError, match=r"f\.txt, line 1: the row that begins here is not CSV"):
        read("f.txt", '"x"\t"y"z"\na\tb\n', format="csv", delimiter="\t")
    for given in ({"name": "f.tsv"}, {"name": "f.csv", "format": "tsv"}):
        with pytest.raises(DataError, match=r"delimiter = ';' is for files in the format csv, and this one is read as tsv"):
            read(content="x;y\n1;2\n", delimiter=";", **given)


def test_a_file_may_differ_from_the_others(read):
    """In format, delimiter, encoding, header and the names of its columns."""
    other = {"format": "csv", "delimiter": ";", "header": False, "columns": ["n", "글", "값"], "text": "글", "label": ["값"]}
    given = {"format": "tsv", "per_file": {"b.txt": other | {"encoding": "cp949"}}}
    assert read("a.txt", "x\ty\n1\t2\n", **given) == [(2, ["1", "2"])]
    assert read("b.txt", '0;"가;나";1\n'.encode("cp949"), **given) == [(1, ["가;나", "1"])]
    with pytest.raises(DataError, match=r"b\.txt.*\n.*line 2: found 1 columns, expected 3 \(n, 글, 값\)"):
        read("b.txt", '0;"가;나";1\n2\n'.encode("cp949"), **given)


def test_rows_are_read_as_they_are_consumed(tmp_path):
    path = tmp_path / "f.csv"
    path.write_text("x,y\n1,2\n3\n")
    rows = read_records(path, task_of())
    assert next(rows) == (2, ["1", "2"])  # the third line is malformed, but not reached
    rows.close()


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("f.tsv", "x\n1\n", "line 1: found the header ['x'], expected ['x', 'y']"),
        ("f.tsv", "1\t2\n3\t4\n", "line 1: found the header ['1', '2']"),
        ("f.tsv", "x\ty\n1\t2\n3\n4\t5\t6\n", "line 3: found 1 columns, expected 2 (x, y)\n  - line 4: found 3 columns"),
        ("f.tsv", "x\ty\n1\t2\nx\ty\n", "line 3: found the names of the columns (x, y)"),
        ("f.tsv", "x\ty\n1\t2\n\n", "line 3: found 1 columns"),
        ("f.tsv", "x\ty\n", "found a header and no rows"),
        ("f.tsv", "x\ty\r1\t2\r", "its lines end with CR alone"),
        ("f.tsv", b"x\ty\n1\t2\n3\t" + "네".encode("cp949") + b"\n", "line 3: found the bytes b3 d7 0a, expected UTF-8"),
        ("f.csv", "y,x\n1,2\n", "line 1: found the header ['y', 'x'], expected ['x', 'y'], separated by commas"),
    ],
)
def test_rejects_malformed_tables_of_known_columns(read, tmp_path, name, content, expected):
    with pytest.raises(DataError) as caught:
        read(name, content, **COLUMNS)
    assert str(tmp_path / name) in str(caught.value) and expected in str(caught.value)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (
            "reviews,y\n1,2\n",
            "line 1: found the columns reviews, y, separated by commas, expected 'review'. Did you mean 'reviews'?",
        ),
        ("review\ty\n1\t2\n", 'line 1: the columns are separated by \'\\t\', expected commas. Set "format": "tsv"'),
        (
            '"id";"review";"y"\n1;2;3\n',
            'line 1: the columns are separated by \';\', expected commas. Set "format": "csv" and "delimiter": ";"',
        ),
        ("a;b,y\n1;2,3\n", "found the columns a;b, y, separated by commas, expected 'review'"),
        ("review,y\n1,2\nreview,y\n", "line 3: found the names of the columns (review, y), expected a row."),
        ("review,y,review\n1,2,3\n", "line 1: the column 'review' occurs 2 times"),
        ("", "expected 'review'"),
        ('review,y\n1,2\n"3\n4",5\n6\n', "line 5: found 1 columns, expected 2 (review, y)"),
        ('review,y\n1,2\n"3\n4,5\n', "line 3: the row that begins here is not CSV: unexpected end of data"),
        ('review,y\n1,2\n"3\n4" 5,6\n', "line 3: the row that begins here is not CSV: ',' expected after"),
        ("review,y\r1,2\r", "its lines end with CR alone"),
        (
            "review,y\n1,2\n3\r4,5\n",
            "line 3: the row that begins here is not CSV: new-line character seen in unquoted field. A value",
        ),
        (
            b"review,y\n1,2\n3," + "네".encode("cp949") + b"\n",
            "line 3: found the bytes b3 d7 0a, expected UTF-8. It seems to be CP949",
        ),
        ("review,y\n\n\n", "found a header and no rows"),
    ],
)
def test_rejects_malformed_csv(read, tmp_path, content, expected):
    with pytest.raises(DataError) as caught:
        read("f.csv", content, text="review")
    assert str(tmp_path / "f.csv") in str(caught.value) and expected in str(caught.value)


def test_reads_what_the_csv_module_writes(tmp_path):
    rows = [["x", "y"], ['"', ","], ["\n\n", "'"], ["\r\n", '""'], [" a ", "\t"], ["", "\ufeff"]]
    path = tmp_path / "f.csv"
    with open(path, "w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows(rows)
    assert list(read_records(path, task_of())) == list(zip([2, 3, 6, 8, 9], rows[1:], strict=True))
