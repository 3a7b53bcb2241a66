import datetime
import sys
from decimal import Decimal

import pyarrow as pa
import pytest
from pyarrow import parquet

from processor.data_files import describe_files
from processor.readers.tables import read_records
from processor.seq_cls import read_examples
from src.common.errors import DataError
from tests.processor.readers.test_tables import task_of

TEXTS = ["가", "나", "다"]
OTHERS = {
    "when": [datetime.datetime(2026, 1, day) for day in (1, 2, 3)],
    "price": [Decimal("1.50")] * 3,
    "image": [b"\xff\xd8"] * 3,
    "pairs": pa.array([[("가", 1)]] * 3, pa.map_(pa.string(), pa.int32())),
}


@pytest.fixture
def write(tmp_path):
    """write({"x": [...]}, ...) writes a file of these columns, in row groups of two, and returns its path."""

    def make(columns, **options):
        table = columns if isinstance(columns, pa.Table) else pa.table(columns)
        parquet.write_table(table, tmp_path / "f.parquet", row_group_size=2, **options)
        return tmp_path / "f.parquet"

    return make


def rows_of(path, **changes):
    return list(read_records(path, task_of(**changes)))


@pytest.mark.parametrize("text", [pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())], ids=str)
@pytest.mark.parametrize(
    "labels", [[1, 2, 3], [1.5, None, 2.0], [True, False, True], ["a", "b", "a"], [Decimal("1"), Decimal("2"), None]], ids=str
)
def test_reads_rows(write, text, labels):
    path = write({"y": labels, "x": pa.array(TEXTS, text), **OTHERS})
    assert rows_of(path) == [(number, list(row)) for number, row in enumerate(zip(TEXTS, labels, strict=True), start=1)]


def test_reads_objects_and_lists(write):
    objects = [{"x": "가", "other": b"", "labels": {"real-label": 1.0}}, {"x": "나", "labels": {"real-label": 2.0}}]
    path = write({"m": objects, "m.y": [["a", "b"], []], "image": [b""] * 2})
    assert rows_of(path, text=["m.x", "m.labels.real-label"], label="m.y") == [
        (1, ["가", 1.0, ["a", "b"]]),
        (2, ["나", 2.0, []]),
    ]


def test_reads_what_the_datasets_library_writes(write):
    """A ClassLabel is a number in the file; its names are in the metadata of the schema."""
    features = b'{"info": {"features": {"y": {"names": ["bad", "good"], "_type": "ClassLabel"}, "x": {"_type": "Value"}}}}'
    table = pa.table({"x": pa.array(TEXTS, pa.large_string()), "y": pa.array([1, 0, 1], pa.int64())})
    path = write(table.replace_schema_metadata({b"huggingface": features}))
    examples, skipped = read_examples(path, task_of(labels={"0": "bad", "1": "good"}))
    assert ([(example.texts, example.label) for example in examples], skipped) == (
        [(("가",), "1"), (("나",), "0"), (("다",), "1")],
        0,
    )


def test_reads_only_the_columns_of_the_task(write, monkeypatch):
    read = []
    iterate = parquet.ParquetFile.iter_batches

    def spy(self, **options):
        for batch in iterate(self, **options):
            read.append(batch.schema)
            yield batch

    monkeypatch.setattr(parquet.ParquetFile, "iter_batches", spy)
    rows_of(write({"m": [{"y": 1, "z": "long"}] * 3, "x": TEXTS, **OTHERS}), label="m.y")
    assert {str(schema.field(name).type) for schema in read for name in schema.names} == {"string", "struct<y: int64>"}


@pytest.mark.parametrize("label", [None, float("nan")])
def test_names_the_row_of_a_missing_value(write, label):
    path = write({"x": ["가", None, "다"], "y": ["1", "2", "1"]})
    with pytest.raises(DataError, match=r"f\.parquet: 1 malformed rows:\n  - line 2: x: found null, expected a text"):
        read_examples(path, task_of())
    path = write({"x": TEXTS, "y": [1.0, 2.0, label]})
    with pytest.raises(DataError, match=r"line 3: y: found (null|NaN), expected a label"):
        read_examples(path, task_of())
    path = write({"x": TEXTS, "m": [{"y": 1}, None, {"y": 2}]})
    with pytest.raises(DataError, match=r"line 2: found an object of x, m, expected 'm\.y'"):
        read_examples(path, task_of(label="m.y"))


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"x": TEXTS, "z": TEXTS}, "found the columns x, z, expected 'y'."),
        ({"x": TEXTS, "yy": [{"y": 1}] * 3}, "found the columns x, yy, yy.y, expected 'y'. Did you mean 'yy'?"),
        (pa.table([TEXTS, TEXTS, TEXTS], ["x", "y", "x"]), "the column 'x' occurs 2 times"),
        ({"x": TEXTS, "y": OTHERS["when"]}, "the column 'y' is of the type timestamp[us], expected texts, numbers"),
        ({"x": OTHERS["image"], "y": TEXTS}, "the column 'x' is of the type binary"),
        ({"x": OTHERS["pairs"], "y": TEXTS}, "the column 'x' is of the type map<string, int32"),
        ({"x": TEXTS, "y": [{"z": 1}] * 3}, "the column 'y' is of the type struct<z: int64>"),
        ({"x": TEXTS[:0], "y": TEXTS[:0]}, "there are no rows"),
    ],
)
def test_rejects_columns_that_cannot_be_used(write, columns, expected):
    path = write(columns)
    with pytest.raises(DataError) as caught:
        rows_of(path)
    assert str(path) in str(caught.value) and expected in str(caught.value)


def test_columns_of_the_same_name_that_are_not_used_are_no_matter(write):
    assert rows_of(write(pa.table([TEXTS, TEXTS, [1, 2, 3], [1, 2, 3]], ["x", "y", "z", "z"])))[2] == (3, ["다", "다"])


@pytest.mark.parametrize("content", [b"", b"x,y\n1,2\n", "TRUNCATED"])
def test_rejects_other_files(write, content):
    path = write({"x": TEXTS, "y": TEXTS})
    path.write_bytes(path.read_bytes()[:-100] if content == "TRUNCATED" else content)
    with pytest.raises(DataError, match=r"f\.parquet: not a Parquet file that can be read: .*Parquet"):
        rows_of(path)


def test_a_file_with_a_changed_byte_is_read_or_rejected(write):
    """Whatever the byte, the file gives as many rows or an error that names it."""
    path = write({"x": TEXTS, "y": pa.array(["a", "b", "a"]).dictionary_encode(), "m": [{"z": "라"}] * 3})
    content, accepted = path.read_bytes(), 0
    for position in range(len(content)):
        path.write_bytes(content[:position] + bytes([content[position] ^ 0x81]) + content[position + 1 :])
        try:
            rows = rows_of(path, text=["x", "m.z"])
        except DataError as error:
            assert str(path) in str(error)
        else:
            accepted += 1
            assert [number for number, _ in rows] == [1, 2, 3]
    assert 0 < accepted < len(content)


def test_says_how_to_install_pyarrow(write, monkeypatch):
    path = write({"x": TEXTS, "y": TEXTS})
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(DataError, match=r"f\.parquet.*pip install -r requirements-parquet\.txt"):
        rows_of(path)


def test_a_folder_is_not_a_file(tmp_path):
    """pandas and Spark can write a folder of files, with the name of one."""
    (tmp_path / "f.parquet").mkdir()
    with pytest.raises(DataError, match=r"f\.parquet \(train\): is a folder"):
        describe_files({"train": tmp_path / "f.parquet"})
