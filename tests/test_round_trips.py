"""Rows that other programs write are read as they were: whatever characters are in them, in every format of rows."""

import csv
import json

import pyarrow as pa
import pytest
from hypothesis import strategies as st
from pyarrow import parquet

from processor.readers.tables import read_records
from src.common.errors import DataError
from tests.generated import check_generated, few_or_many
from tests.processor.readers.test_tables import task_of

CHARACTERS = [
    '"', "'", ",", "\t", "\n", "\r", "\r\n", "\0", "\ufeff", "\x85", "\u2028", "\xa0", "\u3000", *"\x1c\x1d\x1e\x1f", "#", "[",
    "]", " ", "\u1100\u1161", "가", "\U0001f600", "가나 " * 50_000,
]  # fmt: skip
ESCAPED = ["\ud800", "\udfff"]  # only JSON can write unpaired surrogates


def texts(*more):
    """Return a strategy of texts of nasty characters, those in `more` included."""
    part = st.one_of(st.sampled_from([*CHARACTERS, *more]), st.characters(exclude_categories=["Cs"]))
    return st.lists(part, max_size=5).map("".join)


def rows(values):
    return st.lists(st.tuples(values, values).map(list), min_size=1, max_size=4)


def read(path, **changes):
    return [values for _, values in read_records(path, task_of(**changes))]


@few_or_many
@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL], ids=["minimal", "all"])
@pytest.mark.parametrize("mark", ["", "\ufeff"], ids=["", "bom"])
def test_csv(tmp_path, share, quoting, mark):
    def check(written):
        with open(tmp_path / "f.csv", "w", newline="", encoding="utf-8") as file:
            file.write(mark)
            csv.writer(file, quoting=quoting).writerows([["x", "y"], *written])
        assert read(tmp_path / "f.csv") == written

    check_generated(share, 60, rows(texts()), check)


@few_or_many
def test_csv_whose_lines_end_with_lf(tmp_path, share):
    """Python 3.11 does not quote a CR in such a file, as pandas writes it: it is found, except at the end of a line."""

    def check(written):
        with open(tmp_path / "f.csv", "w", newline="", encoding="utf-8") as file:
            csv.writer(file, lineterminator="\n").writerows([["x", "y"], *written])
        try:
            assert read(tmp_path / "f.csv") == [[x, y if set(y) & set('\n",') else y.rstrip("\r")] for x, y in written]
        except DataError as error:
            assert any("\r" in value for row in written for value in row)
            assert "f.csv" in str(error)

    check_generated(share, 60, rows(texts()), check)


@few_or_many
def test_tsv(tmp_path, share):
    """Its values have neither tabs nor line breaks, and no CR at the end of a line."""

    def check(written):
        written = [[value.translate({9: " ", 10: " "}) for value in row] for row in written]
        lines = "".join("\t".join(row) + "\r\n" for row in [["x", "y"], *written])
        (tmp_path / "f.tsv").write_text(lines, encoding="utf-8", newline="")
        assert read(tmp_path / "f.tsv") == written

    check_generated(share, 60, rows(texts()), check)


@few_or_many
@pytest.mark.parametrize("form", ["jsonl", "list", "rows"])
def test_json(tmp_path, share, form):
    path = tmp_path / ("f.jsonl" if form == "jsonl" else "f.json")

    def check(written):
        written = json.loads(json.dumps(written))  # the escapes of two halves side by side are one character
        records = [{"m": {"x": x}, "y": y} for x, y in written]
        content = {"jsonl": records, "list": [records], "rows": [{"version": [1], "rows": records}]}[form]
        path.write_text("\n".join(map(json.dumps, content)), encoding="utf-8")
        assert read(path, text="m.x") == written

    check_generated(share, 60, rows(texts(*ESCAPED)), check)


@few_or_many
def test_parquet(tmp_path, share):
    def check(written):
        table = pa.Table.from_arrays(list(map(pa.array, zip(*written, strict=True))), ["x", "y"])
        parquet.write_table(table, tmp_path / "f.parquet", row_group_size=2)
        assert read(tmp_path / "f.parquet") == written

    check_generated(share, 60, rows(texts()), check)


@few_or_many
@pytest.mark.parametrize("separator", ["\t", " "], ids=["tab", "space"])
def test_conll(tmp_path, share, separator):
    """Its words have neither the separator nor line breaks."""
    words = texts().map(lambda text: text.translate({9: "_", 10: "_", 13: "_"} | {ord(separator): "_"})).filter(bool)

    def check(sentences):
        lines = ["".join(f"{word}{separator}{tag}\n" for word, tag in sentence) for sentence in sentences]
        (tmp_path / "f.conll").write_text("\ufeff" + "\n".join(lines), encoding="utf-8")
        expected = [[[word for word, _ in sentence], [tag for _, tag in sentence]] for sentence in sentences]
        assert read(tmp_path / "f.conll", kind="tagging", text="words", label="tags") == expected

    tagged = st.tuples(words, st.sampled_from(["O", "B-PER", "I-PER"]))
    check_generated(share, 60, st.lists(st.lists(tagged, min_size=1, max_size=3), min_size=1, max_size=3), check)
