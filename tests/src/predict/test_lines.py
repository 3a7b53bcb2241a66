import io
import json
import os
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from processor.inputs import Inputs
from src.common.errors import DataError
from src.predict import lines as module
from src.predict.lines import open_lines, open_output, predict_rows, write_json
from src.predict.parse import LineParser


class Upper:
    """Inputs whose result is their text in upper case; "bad" is invalid."""

    values_of, pick = Inputs.values_of, Inputs.pick

    def __init__(self, keys=("text",), forms=()):
        self.keys, self.columns, self.forms = keys, keys, (*forms, keys)

    def example(self, values):
        if "bad" in values:
            raise ValueError("text: is bad")
        return values

    def encode(self, examples):
        return examples

    def results(self, examples, features, outputs):
        yield from ({"out": " ".join(example).upper()} for example in examples)


def results_of(*lines, keys=("text",), size=2, strict=False):
    """Return the written lines, and the message of a DataError if there is one."""
    written = []
    data = [line if isinstance(line, bytes) else (line + "\n").encode() for line in lines]
    chunks = [data[start : start + size] for start in range(0, len(data), size)]
    try:
        inputs = Upper(keys)
        predict_rows(
            LineParser(inputs).rows(chunks), inputs, lambda features: np.zeros(len(features)), write_json(written.append), strict
        )
    except DataError as error:
        return [json.loads(line) for line in written], str(error)
    return [json.loads(line) for line in written]


def test_writes_results_in_the_order_of_the_lines():
    assert results_of('{"text": "a"}', '{"id": 1, "text": "b"}', '{"text": "c"}') == [{"out": "A"}, {"out": "B"}, {"out": "C"}]
    assert results_of("a", "b", "c\r") == [{"out": "A"}, {"out": "B"}, {"out": "C"}]
    assert results_of("a\tb", keys=("text", "pair")) == [{"out": "A B"}]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("{", "not JSON: Expecting property name enclosed in double quotes: line 1 column 2 (char 1)"),
        ("[1]", "found a JSON list, expected an object with text"),
        ('{"txt": "a"}', "'text' is missing; an input has text"),
        ('{"text": "bad"}', "text: is bad"),
        ("", "the line is empty"),
        (b'{"text": "\xff"}\n', "not UTF-8"),
        ('{"text": "a"}\r{"text": "b"}', "found CR inside the line; lines must end with LF or CR LF, not with CR alone"),
    ],
)
def test_writes_the_error_of_an_invalid_line_in_its_place(line, expected, caplog):
    good = '{"text": "a"}'
    for size in (1, 2, 3, 10):
        assert results_of(good, line, good, size=size) == [{"out": "A"}, {"line": 2, "error": expected}, {"out": "A"}]
    assert "1 of 3 lines" in caplog.text
    for size in (1, 2, 3):
        written, error = results_of(good, line, good, size=size, strict=True)
        assert written == [{"out": "A"}]
        assert f"line 2: {expected}. " in error and "--strict" in error


def test_the_first_line_with_text_decides_the_format():
    assert results_of("", b"\xff\n", "a", "{") == [
        {"line": 1, "error": "the line is empty"},
        {"line": 2, "error": "not UTF-8"},
        {"out": "A"},
        {"out": "{"},
    ]
    assert results_of("\ufeffa", "b\tc") == [{"out": "A"}, {"line": 2, "error": "found 2 columns, expected 1 (text)"}]


def test_parses_json_objects_after_a_tsv_line():
    results = results_of("garbage", '{"text": "a"}', '{"txt": "a"}', "{not json}")
    assert results[1:] == [{"out": "A"}, {"line": 3, "error": "'text' is missing; an input has text"}, {"out": "{NOT JSON}"}]


def test_a_line_that_is_nested_too_deeply_is_invalid():
    results = results_of('{"text": "a"}', "[" * 200_000, '{"text": "b"}')
    assert (results[0], results[1]["line"], results[2]) == ({"out": "A"}, 2, {"out": "B"})


@pytest.mark.parametrize(
    "line",
    [
        "a\r" * 10**6,
        "a\t" * 10**6,
        '{"a": ' + "1" * 10**6,
        '{"' + "a" * 10**6 + '": 1}',
        "[1, " * 10**6,
        "[" + "1, " * 10**6 + "1]",
    ],
)
def test_errors_are_short_however_long_the_line_is(line):
    results = results_of('{"text": "a"}', line)
    assert len(results[1]["error"]) < 200
    assert "CR" in results[1]["error"] or "\r" not in line


class Picky(Upper):
    """Inputs whose tokenizer refuses emoji, as one without an unknown token does."""

    def encode(self, examples):
        if any("😀" in text for example in examples for text in example):
            raise Exception("the unknown token is missing")
        return examples


@pytest.mark.parametrize("strict", [False, True])
def test_a_line_that_cannot_be_encoded_never_costs_the_others(monkeypatch, strict):
    monkeypatch.setattr(f"{__name__}.Upper", Picky)
    reason = "the tokenizer cannot encode it: the unknown token is missing"
    lines = ["a", "b", "😀", "c", "bad", "d", "e😀", "f"]
    results = results_of(*lines, size=8, strict=strict)
    if strict:
        assert results[0] == [{"out": "A"}, {"out": "B"}] and f"line 3: {reason}" in results[1]
        return
    expected = [{"out": line.upper()} for line in lines]
    expected[2], expected[4], expected[6] = ({"line": line, "error": error} for line, error in
                                             ((3, reason), (5, "text: is bad"), (7, reason)))  # fmt: skip
    assert results == expected
    assert reason in results_of("😀", "😀")[1]


def test_errors_of_the_command_are_not_those_of_a_line(monkeypatch):
    class Failing(Upper):
        def encode(self, examples):
            raise MemoryError

    monkeypatch.setattr(f"{__name__}.Upper", Failing)
    with pytest.raises(MemoryError):
        results_of("a", "b")


def test_an_input_without_a_valid_line_is_an_error():
    _, error = results_of("a\tb", "c\td")
    assert "2 lines" in error and "found 2 columns, expected 1 (text)" in error


def test_an_empty_input_gives_an_empty_output(caplog):
    assert results_of() == []
    assert "the input is empty" in caplog.text


def test_reads_a_file_in_chunks(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "CHUNK", 2)
    (tmp_path / "f").write_text("a\nb\nc")
    with open_lines(tmp_path / "f") as lines:
        assert list(lines) == [[b"a\n", b"b\n"], [b"c"]]
    with pytest.raises(DataError, match=r"--input .*/g cannot be read: No such file"), open_lines(tmp_path / "g"):
        pass


def test_yields_lines_of_standard_input_as_they_arrive(monkeypatch):
    """Before a chunk is full."""
    reading, writing = os.pipe()
    with os.fdopen(reading) as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        with open_lines(None) as lines:
            chunks = []
            for text in (b"a\n", b"b\n"):
                os.write(writing, text)
                reader = threading.Thread(target=lambda: chunks.append(next(lines)))
                reader.start()
                reader.join(timeout=20)
                assert chunks[-1] == [text]
            os.write(writing, b"c\nd")
            os.close(writing)
            assert b"".join(line for chunk in lines for line in chunk) == b"c\nd"


def test_reports_a_standard_input_that_cannot_be_read(monkeypatch, tmp_path):
    folder = os.open(tmp_path, os.O_RDONLY)
    monkeypatch.setattr(sys, "stdin", type("Stdin", (), {"fileno": staticmethod(lambda: folder)}))
    with pytest.raises(DataError, match="standard input cannot be read: Is a directory"), open_lines(None) as lines:
        list(lines)
    os.close(folder)


def test_renames_the_output_when_it_is_complete(tmp_path):
    path = tmp_path / "out.jsonl"
    with pytest.raises(RuntimeError), open_output(path) as write:
        write("a\n")
        raise RuntimeError
    assert [file.name for file in tmp_path.iterdir()] == ["out.jsonl.partial"]
    with open_output(path) as write:
        write("b\n")
    assert [file.name for file in tmp_path.iterdir()] == ["out.jsonl"]
    assert path.read_text() == "b\n"
    with pytest.raises(DataError, match="cannot be written"), open_output(tmp_path / "no" / "f"):
        pass


def test_a_link_to_the_output_stays_a_link(tmp_path):
    """As /dev/stdout is one."""
    link, path = tmp_path / "link", tmp_path / "out.jsonl"
    link.symlink_to(path)
    for text in ("a\n", "b\n"):
        with open_output(link) as write:
            write(text)
        assert link.is_symlink()
        assert path.read_text() == text
    assert len(list(tmp_path.iterdir())) == 2


def test_a_write_that_fails_names_the_file():
    with pytest.raises(OSError) as caught, open_output(Path("/dev/full")) as write:
        write("a\n")
    assert caught.value.filename == "/dev/full"


def test_writes_standard_output_in_utf8_with_escapes_for_surrogates(monkeypatch):
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", stream)
    with open_output(None) as write:
        write('{"error": "한\udcff"}\n')
    assert json.loads(stream.buffer.getvalue()) == {"error": "한\udcff"}


@pytest.mark.parametrize("stdin", [None, io.StringIO("text"), object()])
def test_a_standard_input_without_descriptor_is_an_error(monkeypatch, stdin):
    monkeypatch.setattr(sys, "stdin", stdin)
    with pytest.raises(DataError, match="--input"), open_lines(None):
        pass


def test_writes_to_pipes_in_place(tmp_path):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    received = []
    reader = threading.Thread(target=lambda: received.append(fifo.read_text()))
    reader.start()
    with open_output(fifo) as write:
        write("a\n")
    reader.join(timeout=20)
    assert received == ["a\n"]
    assert fifo.is_fifo()
    with pytest.raises(DataError, match="cannot be written: Is a directory"), open_output(tmp_path):
        pass
