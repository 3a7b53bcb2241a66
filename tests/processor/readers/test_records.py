import pytest

from processor.readers.tables import read_records
from src.common.errors import DataError
from tests.processor.readers.test_tables import task_of

TASK = task_of(text=["x", "m.x"], label="m.real-label")


@pytest.fixture
def read(tmp_path):
    """read("f.json", content) returns the rows of a file with the texts x and m.x and the label m.real-label."""

    def rows_of(name, content):
        (tmp_path / name).write_text(content, encoding="utf-8", newline="")
        return list(read_records(tmp_path / name, TASK))

    return rows_of


ONE = '{"x": "가", "m": {"x": "나", "real-label": 4.5}}'
OTHER = '{"m": {"x": "[,]", "real-label": null}, "id": 1, "x": ["다"]}'


def test_reads_a_record_on_each_line(read):
    assert read("f.jsonl", f"{ONE}\n\n {OTHER}\r\n") == [(1, ["가", "나", 4.5]), (3, [["다"], "[,]", None])]


@pytest.mark.parametrize(
    ("content", "lines"),
    [
        (f"[{ONE}, {OTHER}]", [1, 1]),
        (f"\n[\n{ONE}\n,\n\n{OTHER}\n]\n", [3, 6]),
        (f'{{"rows": [{ONE},\n{OTHER}]}}', [1, 2]),
        (f'{{"version": {{"data": [1]}}, "data" : [\n{ONE},\n{OTHER}], "rows": 3}}', [2, 3]),
        (f'{{"data": [1], "rows":\n[{ONE},\n{OTHER}]}}', [2, 3]),
    ],
)
def test_reads_a_list_of_records(read, content, lines):
    assert read("f.json", content) == list(zip(lines, [["가", "나", 4.5], [["다"], "[,]", None]], strict=True))


def test_a_name_with_a_dot_comes_before_a_path(read):
    assert read("f.jsonl", '{"x": "가", "m.x": "나", "m": {"x": "다", "real-label": "라"}}') == [(1, ["가", "나", "라"])]


def test_a_number_on_a_path_counts_the_items_of_a_list(tmp_path):
    (tmp_path / "f.jsonl").write_text('{"m": {"x": ["a", ["b", "c"]], "0": "d"}}\n')
    for column, value in (("m.x.0", "a"), ("m.x.1.1", "c"), ("m.x.1", ["b", "c"]), ("m.0", "d")):
        assert list(read_records(tmp_path / "f.jsonl", task_of(text="m.x.0", label=column))) == [(1, ["a", value])]
    for column in ("m.x.2", "m.x.-1", "m.x.٠", "m.x.x", f"m.x.{'0' * 5000}", "m.x.0.0"):
        with pytest.raises(DataError, match=r"line 1: found an object of m, m\.x, m\.0, expected '"):
            list(read_records(tmp_path / "f.jsonl", task_of(text=column, label="m.0")))


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("f.jsonl", f"{ONE}\n{{", "line 2, column 2: not JSON"),
        ("f.jsonl", "[\n", 'line 1, column 2: not JSON: Expecting value. A file with a list of objects has "format": "json"'),
        ("f.jsonl", f'{ONE}\n{{"x": 1, "x": 2}}', "line 2: not JSON that can be read: the key 'x' occurs 2 times"),
        ("f.jsonl", ONE.replace("4.5", "NaN"), "line 1: not JSON that can be read: NaN is not a number"),
        ("f.jsonl", "[" * 100_000, "line 1: not JSON that can be read"),
        ("f.jsonl", ONE.replace("4.5", "9" * 5000), "line 1: not JSON that can be read"),
        ("f.jsonl", f"{ONE}\n[]\n3", "line 2: found [], not an object, expected 'x'.\n  - line 3: found 3"),
        (
            "f.jsonl",
            '{"x": "가", "m": {"x": 1, "real_label": 2}}',
            "an object of x, m, m.x, m.real_label, expected 'm.real-label'.",
        ),
        ("f.jsonl", '{"x": "가", "m": {"x": 1, "real_label": 2}}', "Did you mean 'm.real_label'?"),
        ("f.jsonl", '{"x": "가", "m": "나"}', "expected 'm.x'"),
        ("f.jsonl", "\n", "there are no rows"),
        (
            "f.json",
            f"{ONE}\n{ONE}",
            'line 2, column 1: not JSON: Extra data. A file with an object on each line has "format": "jsonl"',
        ),
        ("f.json", f"[\n{ONE},\n{{}}]", "line 3: found an object of nothing, expected 'x'"),
        ("f.json", '{"x": {"0": "가"}}', "expected a list of objects, or one under rows or data"),
        ("f.json", "3", "found 3, not an object, expected a list of objects"),
        ("f.json", "[]", "there are no rows"),
    ],
)
def test_rejects_malformed_records(read, tmp_path, name, content, expected):
    with pytest.raises(DataError) as caught:
        read(name, content)
    assert str(tmp_path / name) in str(caught.value) and expected in str(caught.value)
