"""Generated inputs of predict.py: each line gives one result or one error, in order, whatever the other lines are."""

import csv
import io
import json
from contextlib import suppress
from functools import cache
from itertools import chain

import pytest
from hypothesis import assume
from hypothesis import strategies as st

from src.common.files import find_stand_in
from src.training import finetune
from tests.commands import run_script
from tests.generated import NASTY_BYTES, VALUES, check_generated, damaged

GOOD = {
    "nsmc": ["연기가 정말 최고다", "돈이 아깝다"],
    "paws": ["아이가 공원에서 공을 찬다.\t사람이 운동을 한다.", "그는 왔다.\t그가 갔다."],
    "naver-ner": ["경주 영화제가 열린다 .", "김민준은 1956년 태어났다"],
    "korquad": ["언제인가?\t김민준은 1956년 서울에서 태어났다.", "어디에서?\t김민준은 1956년 서울에서 태어났다."],
}
KEYS = {
    "nsmc": [["text"], ["document"]],
    "paws": [["text", "pair"], ["sentence1", "sentence2"]],
    "naver-ner": [["words"], ["sentence"], ["text"]],
    "korquad": [["question", "context"]],
}
ENCODINGS = ["utf-8", "utf-8-sig", "cp949", "latin-1", "utf-16", "utf-16-be", "cp500", "ascii"]
WITHOUT_HANGUL = ("latin-1", "cp500", "ascii")
# Both tests together take more than 2,000 inputs in `make test-long`.
few_or_thousands = pytest.mark.parametrize("share", [1, pytest.param(29, marks=pytest.mark.long)], ids=["few", "thousands"])
CHARACTERS = st.one_of(
    st.characters(exclude_categories=["Cs"], exclude_characters="\n"),
    st.sampled_from("\t \r\x00\x0b\x1c\x85\xa0\u2028\u200b\u3000\ufeff{}[]\",'가힣각ᄀ😀㋿"),
)
TEXTS = st.text(CHARACTERS, max_size=12)


@pytest.fixture
def predict(trained, monkeypatch, tmp_path):
    """predict(task, content, suffix, *flags) runs the command, which loads its checkpoint once; without a suffix on stdin."""
    monkeypatch.setattr(finetune, "load_checkpoint", cache_by_folder(finetune.load_checkpoint))
    checkpoint = cache(trained)

    def run(task, content, suffix, *flags):
        path = tmp_path / f"in{suffix}"
        path.write_bytes(content)
        done = run_script("predict.py", "--checkpoint", str(checkpoint(task)), "--input", str(path), *flags)
        assert "Traceback" not in done.stderr, done.stderr
        assert done.returncode in (0, 2), done.stderr
        return done.returncode, [json.loads(line) for line in done.stdout.split("\n")[:-1]], done.stderr

    return run


def cache_by_folder(load):
    loaded = {}

    def load_once(settings, task, checkpoint, no_cuda):
        if checkpoint not in loaded:
            loaded[checkpoint] = load(settings, task, checkpoint, no_cuda)
        return loaded[checkpoint]

    return load_once


def check_results(results, good, expected):
    """Check that there is a result for each line. good: line, from 1 -> the good input that it is; expected: by good input."""
    for number, result in enumerate(results, start=1):
        if number in good:
            assert without_numbers(result) == expected[good[number]], f"line {number}"
        elif "error" in result:
            assert result.keys() == {"line", "error"} and result["line"] == number and result["error"]
        else:
            assert result.keys() & {"label", "tags", "answer"}


def without_numbers(result):
    """Return a result without probabilities, whose last digit depends on the batch."""
    return {name: value for name, value in result.items() if name not in ("probabilities", "score")}


def objects(task):
    """Lines of JSON: values of every kind under right and wrong keys, keys that occur twice, numbers that are none."""
    names = st.sampled_from([*chain.from_iterable(KEYS[task]), "id", "가"])
    members = st.lists(st.tuples(names, st.one_of(TEXTS, VALUES, st.lists(TEXTS, max_size=3))), max_size=3)

    def write(pairs):
        inner = ", ".join(f"{json.dumps(name)}: {json.dumps(value, ensure_ascii=name < 'p')}" for name, value in pairs)
        return f"{{{inner}}}".encode("utf-8", "surrogatepass")

    return members.map(write)


def is_object(line):
    with suppress(ValueError, RecursionError):
        return isinstance(json.loads(line.decode("utf-8-sig")), dict)
    return False


def one_line(content):
    return content.replace(b"\n", b" ")


def good_object(task, index):
    """Lines of JSON with a good input, under the keys of this program or those of the training data."""
    values = GOOD[task][index].split("\t")
    return st.sampled_from(KEYS[task][:2]).map(lambda keys: json.dumps(dict(zip(keys, values, strict=True))).encode())


@pytest.mark.parametrize("task", GOOD)
@few_or_thousands
def test_every_line_gives_a_result_or_an_error(predict, task, share):
    expected = [without_numbers(result) for result in predict(task, "\n".join(GOOD[task]).encode(), ".txt")[1]]
    hostile = st.one_of(
        TEXTS.map(str.encode),
        objects(task),
        st.sampled_from(NASTY_BYTES),
        st.binary(max_size=30),
        good_object(task, 0).flatmap(damaged),
        st.sampled_from([b"{", b"{}", b"[1]", b"null", b"{\xff}", b'{"text": NaN}', b"[" * 2000, b'{"a":' * 2000, b'"' * 99]),
    ).map(one_line)
    good = st.sampled_from([0, 1])
    as_json = good.flatmap(lambda index: good_object(task, index).map(lambda line: (index, line)))
    as_text = good.map(lambda index: (index, GOOD[task][index].encode()))
    files = [st.lists(st.one_of(hostile.map(lambda line: (None, line)), each), max_size=8) for each in (as_json, as_text)]

    def check(case):
        lines, ending, ends = case
        content = ending.join(line for _, line in lines) + ending * ends
        found = content.split(b"\n")
        found.pop() if found[-1] == b"" else None
        assume(not find_stand_in(content))  # a file that begins as a web page is refused as a whole
        is_json = any(line.startswith(b"{") for index, line in lines if index is not None)
        _, results, _ = predict(task, content, ".txt")
        assert len(results) == len(found)
        known = {number: index for number, (index, _) in enumerate(lines, start=1) if index is not None}
        if not is_json and any(map(is_object, found)):
            known = {}  # if it is before all texts, these are errors
        check_results(results, known, expected)

    endings = st.sampled_from([b"\n", b"\n", b"\r\n"])
    check_generated(share, 9, st.tuples(st.one_of(files), endings, st.booleans()), check)


@pytest.mark.parametrize("task", GOOD)
@few_or_thousands
def test_every_row_of_a_table_gives_a_result_or_an_error(predict, task, share):
    """A .csv or .tsv file of hostile cells, in its own or another encoding, with columns in any order; some are damaged."""
    expected = [without_numbers(result) for result in predict(task, "\n".join(GOOD[task]).encode(), ".txt")[1]]
    names = KEYS[task][1] if len(KEYS[task]) > 1 else KEYS[task][0]
    cells = TEXTS.map(lambda text: text.replace("\t", " ").replace("\r", " "))
    rows = st.lists(
        st.one_of(st.sampled_from([0, 1]), st.lists(cells, min_size=len(names) + 1, max_size=len(names) + 1)), max_size=6
    )

    def check(case):
        rows, suffix, before, encoding, read_as, damage = case
        values = [GOOD[task][row].split("\t") if isinstance(row, int) else row[: len(names)] for row in rows]
        others = ["번호" if isinstance(row, int) else row[-1] for row in rows]
        table = [["id", *names], *([other, *value] for other, value in zip(others, values, strict=True))]
        table = [row if before else [*row[1:], row[0]] for row in table]
        content = written(table, suffix).encode(encoding, "replace")
        if damage is not None:
            content = content[: damage % (len(content) + 1)] + b'"\xff' + content[damage % (len(content) + 1) :]
        code, results, errors = predict(task, content, suffix, "--encoding", read_as)
        assert results or code == 2 or not rows or "empty" in errors
        if damage is None and read_as == encoding:
            assert len(results) == len(rows), errors
            known = {} if encoding in WITHOUT_HANGUL else {n: row for n, row in enumerate(rows) if isinstance(row, int)}
            results = [{**result, "line": n} if "error" in result else result for n, result in enumerate(results, start=1)]
            check_results(results, {n + 1: row for n, row in known.items()}, expected)

    encodings = st.sampled_from(ENCODINGS)
    pairs = st.one_of(encodings.map(lambda name: (name, name)), st.tuples(encodings, encodings))
    damages = st.one_of(st.none(), st.none(), st.integers(0, 200))
    cases = st.tuples(rows, st.sampled_from([".csv", ".tsv"]), st.booleans(), pairs, damages)
    check_generated(share, 9, cases.map(lambda case: (*case[:3], *case[3], case[4])), check)


def written(table, suffix):
    if suffix == ".tsv":
        return "".join("\t".join(row) + "\n" for row in table)
    stream = io.StringIO()
    csv.writer(stream).writerows(table)
    return stream.getvalue()
