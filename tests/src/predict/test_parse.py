import json
from types import SimpleNamespace

import pytest

from processor.inputs import Inputs
from src.common.errors import DataError
from src.predict.parse import LineParser, refuse_other_formats
from tests.src.predict.test_lines import Upper


def parse(*lines, keys=("text",), forms=(), **options):
    """Return the values of every row, or its error."""
    data = [line if isinstance(line, bytes) else f"{line}\n".encode() for line in lines]
    rows = [row for chunk in LineParser(Upper(keys, forms), **options).rows([data[:2], data[2:]]) for row in chunk]
    return [row.error or list(row.values) for row in rows]


def test_a_text_that_begins_like_json_is_an_error_and_the_next_line_decides():
    """The first line of a file of texts, or of JSON lines."""
    assert parse("{웃음} 재밌다", "좋다", "{ㅋㅋ}")[1:] == [["좋다"], ["{ㅋㅋ}"]]
    assert parse("{웃음} 재밌다", "좋다")[0].startswith("not JSON: ")
    assert parse('{"text": "a"', '{"text": "b"}', "c")[1:] == [["b"], "not JSON: Expecting value: line 1 column 1 (char 0)"]


def test_a_key_that_occurs_twice_is_the_error_of_its_line():
    good, twice = '{"text": "a"}', '{"text": "a", "text": "b"}'
    error = "the key 'text' occurs 2 times in an object"
    assert parse(twice, good) == [error, ["a"]]
    assert parse(good, twice, '{"text": "a", "more": {"n": 1, "n": 2}}', good)[1::2] == [error, ["a"]]
    assert parse("좋다", twice) == [["좋다"], error]


def test_numbers_that_json_lacks_are_the_error_of_their_line():
    assert parse('{"text": "a", "score": NaN}', '{"text": "b"}') == ["NaN is not a number of JSON", ["b"]]


def test_the_names_of_training_come_before_the_keys():
    for forms, line, expected in [
        ((("message",),), {"message": "a"}, ["a"]),
        ((("message",),), {"text": "a"}, ["a"]),
        ((("message",),), {"text": "a", "message": "b"}, ["b"]),
        ((("body.text",),), {"body": {"text": "a"}, "text": "b"}, ["a"]),
        ((("body.text",),), {"body.text": "a"}, ["a"]),
        ((("message",),), {"body": "a"}, "'text' is missing; an input has text, or message"),
    ]:
        assert parse(json.dumps(line), forms=forms) == [expected]


def test_texts_of_a_pair_are_named_by_one_set_of_names():
    forms = [("pair", "text")]  # trained with the columns exchanged
    assert parse('{"text": "a", "pair": "b"}', keys=("text", "pair"), forms=forms) == [["b", "a"]]
    mixed = parse('{"first": "a", "pair": "b"}', keys=("text", "pair"), forms=[("first", "second")])
    assert mixed == ["'text' is missing; an input has text, pair, or first, second"]


def test_the_first_line_of_fields_may_name_the_columns():
    forms = [("message",)]
    assert parse("id\tmessage\tlabel", "1\ta\t0", "2\tb", forms=forms) == [
        ["a"],
        "found 2 columns, expected 3 (id, message, label)",
    ]
    assert parse("", "\ufeffid\tmessage", forms=forms)[0] == "the line is empty"
    assert parse("\ufeffid\tmessage", "1\ta", forms=forms) == [["a"]]
    assert parse("b\ta", "1\t2", keys=("a", "b")) == [["2", "1"]]
    assert parse("message", "a", forms=forms) == [["message"], ["a"]]  # a line of a text file
    assert parse("message", "a", forms=forms, is_table=True) == [["a"]]
    assert parse("a", "id\tmessage", forms=forms) == [["a"], "found 2 columns, expected 1 (text)"]
    assert parse("id\tmessage", "1\ta", '{"message": "b"}', forms=forms) == [["a"], ["b"]]


def test_names_of_the_command_line_alone_count():
    assert parse('{"body": "a", "text": "b"}', '{"text": "b"}', names=("body",)) == [
        ["a"],
        "'body' is missing; an input has body",
    ]
    assert parse("n\tbody", "1\ta", names=("body",)) == [["a"]]
    with pytest.raises(DataError, match="--text_column: the first line has no 'body'"):
        parse("", "a", names=("body",))


def test_an_encoding_holds_line_by_line():
    lines = ["가\n".encode("cp949"), b"\xff\n", '{"text": "나"}\n'.encode("cp949")]
    assert parse(*lines, encoding="cp949") == [["가"], "not CP949", ["나"]]


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.json", b'\xef\xbb\xbf [\n{"text": "a"},\n{"text": "b"}\n]', "is a JSON list"),
        ("a.parquet", b"PAR1\x15\x04\ntext\nPAR1", "is a Parquet file"),
        ("a.txt", b"PK\x03\x04\ntext\n", "zip"),
        ("a.csv", b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "git lfs pull"),
        ("a.txt", b"<!DOCTYPE html>\n<p>text\n", "web page"),
    ],
)
def test_refuses_files_without_lines_of_inputs(tmp_path, name, content, expected):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=f"--input .*{name} .*{expected}"):
        refuse_other_formats(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "content"), [("a.txt", b"[notice] a\n"), ("a.json", b'{"text": "a"}\n'), ("a", b""), ("a", None)]
)
def test_accepts_files_of_lines(tmp_path, name, content):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    refuse_other_formats(tmp_path / name)


def test_names_the_likely_encoding_once(caplog):
    lines = ["가\n".encode("cp949"), "나\n".encode("cp949"), b"ok\n"]
    assert parse(*lines) == ["not UTF-8", "not UTF-8", ["ok"]]
    assert [record.getMessage().count("cp949") for record in caplog.records] == [1]
    caplog.clear()
    parse(b"\xff\n", b"ok\n")
    assert not caplog.records


def test_inputs_of_any_kind_have_the_names_of_training():
    class Named(Upper):
        forms = Inputs.forms
        task = SimpleNamespace(texts=("message",))

    Named.__init__ = lambda self: setattr(self, "keys", ("text",))
    assert Named().values_of({"message": "a"}) == ["a"]
