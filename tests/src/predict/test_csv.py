import csv

import numpy as np
import pytest

from src.common.errors import DataError
from src.predict.csv import is_csv, open_csv, open_csv_output
from src.predict.lines import CHUNK, predict_rows
from tests.src.predict.test_lines import Upper

COLUMNS = {"--text_column": "text"}


@pytest.fixture
def predict(tmp_path):
    """predict(content) predicts a CSV file and returns the rows of the CSV output; its text is in tmp_path/out.csv."""

    def run(content, columns=COLUMNS, encoding="utf-8"):
        source, target = tmp_path / "in.csv", tmp_path / "out.csv"
        source.write_bytes(content.encode(encoding) if isinstance(content, str) else content)
        with open_csv(source, columns, encoding) as given, open_csv_output(target, given.header, given.for_excel) as write:
            predict_rows(given.rows, Upper(("text", "pair")[: len(columns)]), lambda features: np.zeros(len(features)), write)
        with open(target, newline="", encoding="utf-8-sig") as file:
            return list(csv.reader(file))

    return run


def test_appends_results_to_the_columns_of_the_input(predict):
    assert predict("id,text\n1,a\n2,b\n") == [["id", "text", "out"], ["1", "a", "A"], ["2", "b", "B"]]
    pair = {"--text_column": "text", "--text_pair_column": "id"}
    assert predict("id,text\n1,a\n", pair)[1] == ["1", "a", "A 1"]


def test_cells_with_commas_quotes_and_line_breaks_survive(predict, tmp_path):
    cells = ['a "b", c', "two\nlines", "three\r\nlines\r", " ", "", "가"]
    with open(tmp_path / "made.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["text", "more"], *([cell, cell] for cell in cells)])
    rows = predict((tmp_path / "made.csv").read_bytes())
    assert rows[1:] == [[cell, cell, cell.upper()] for cell in cells]


def test_the_error_of_a_row_stands_in_its_last_column(predict):
    rows = predict('text,n\nbad,1\n"a\n\n",2\nb\nc,3,4\n\n"d"e,5\nf,6\n')
    assert rows == [
        ["text", "n", "out", "error"],
        ["bad", "1", "", "text: is bad"],
        ["a\n\n", "2", "A\n\n", ""],
        ["b", "", "", "found 1 columns, expected 2"],
        ["c", "3", "", "found 3 columns, expected 2"],
        ["", "", "", "the line is empty"],
        ["", "", "", "not CSV: ',' expected after '\"'"],
        ["f", "6", "F", ""],
    ]


def test_an_empty_line_of_a_single_column_is_an_empty_cell(predict):
    assert predict("text\na\n\n") == [["text", "out"], ["a", "A"], ["", ""]]


def test_results_never_replace_columns_of_the_input(predict):
    assert predict("text,out,predicted_out\na,1,2\n")[0] == ["text", "out", "predicted_out", "predicted_predicted_out"]


def test_line_numbers_are_those_of_the_file(tmp_path):
    (tmp_path / "f.csv").write_text('text\n"a\nb"\nc\n')
    with open_csv(tmp_path / "f.csv", COLUMNS, "utf-8") as given:
        assert [row.number for chunk in given.rows for row in chunk] == [2, 4]


def test_more_rows_than_a_chunk(predict):
    rows = predict("text\n" + "a\n" * (CHUNK + 1))
    assert len(rows) == CHUNK + 2 and rows[-1] == ["a", "A"]


def test_excel_gets_a_byte_order_mark_if_the_input_may_be_its_own(predict, tmp_path):
    for encoding, marked in (("utf-8", False), ("utf-8-sig", True), ("cp949", True)):
        assert predict("text\n가\n".encode(encoding), encoding="utf-8" if marked and encoding != "cp949" else encoding)[1] == [
            "가",
            "가",
        ]
        assert (tmp_path / "out.csv").read_bytes().startswith(b"\xef\xbb\xbf") is marked


def test_results_of_every_shape_become_columns(tmp_path):
    results = [{"label": "a", "probabilities": {"a": 0.75, "b": 0.25}}, {"tags": ["O", "가"]}, {"line": 3, "error": "bad"}]
    with open_csv_output(tmp_path / "f.csv", ["text"], False) as write:
        for result in results:
            write(type("Row", (), {"cells": ["x"]}), result)
    assert (tmp_path / "f.csv").read_text().splitlines() == [
        "text,label,prob_a,prob_b,tags,error",
        "x,a,0.75,0.25,,",
        'x,,,,"[""O"", ""가""]",',
        "x,,,,,bad",
    ]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("txt,n\na,1\n", ["no column 'text'", "txt, n", "Did you mean 'txt'?", "--text_column"]),
        ("text,text\na,1\n", ["found 2 columns 'text'"]),
        ("", ["no column 'text'"]),
        ("text\n가\n".encode("cp949"), ["not utf-8", "line 1", "--encoding"]),
        ('"te"xt\n', ["line 1: not CSV"]),
        ('text\n"a\nb\n', ["none of the 1 lines", "unexpected end of data"]),
    ],
)
def test_unusable_files(predict, content, expected, tmp_path):
    with pytest.raises(DataError) as caught:
        predict(content)
    for text in expected:
        assert text in str(caught.value), str(caught.value)
    assert not (tmp_path / "out.csv").exists()


def test_a_missing_file_and_an_unknown_encoding(tmp_path):
    with pytest.raises(DataError, match=r"no\.csv cannot be read: No such file"), open_csv(tmp_path / "no.csv", {}, "utf-8"):
        pass
    (tmp_path / "f.csv").write_text("text\n")
    with pytest.raises(DataError, match="cp94"), open_csv(tmp_path / "f.csv", COLUMNS, "cp94"):
        pass


def test_a_file_without_the_columns_of_training_may_have_the_keys(tmp_path):
    for header, expected in (("message,text", ["m"]), ("id,text", ["t"]), ("id,txt", None)):
        (tmp_path / "f.csv").write_text(f"{header}\nm,t\n")
        opened = open_csv(tmp_path / "f.csv", {"--text_column": "message"}, "utf-8", [("message",), ("text",)])
        if expected is None:
            with pytest.raises(DataError, match="no column 'message'"), opened:
                pass
            continue
        with opened as given:
            assert [list(row.values) for chunk in given.rows for row in chunk] == [expected]


def test_the_suffix_decides(tmp_path):
    assert is_csv(tmp_path / "A.CSV")
    assert not is_csv(tmp_path / "csv") and not is_csv(None)
