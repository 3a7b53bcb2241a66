"""Own files of every format and kind, with any content: each row is used, or an error names the file. No tracebacks."""

import csv
import io
import json
import os
import re

import pyarrow as pa
import pytest
from hypothesis import strategies as st
from pyarrow import parquet

from processor.data_files import describe_files
from processor.definition import make_task
from processor.kinds import KINDS, load_split
from processor.labels import complete_task
from src.common.errors import DataError
from src.model.load import load_tokenizer
from tests.commands import run_script
from tests.conftest import SAMPLE
from tests.generated import VALUES, check_generated, damaged, few_or_many, places_in, replaced

OWN = SAMPLE / "own"
SETS = {"kind": "multi_label", "text": "text", "label": "topics"}

CHOICES = {"kind": "multiple_choice", "text": ["상황", "물음"], "choices": ["가", "나"], "label": "정답"}

# Name of a file -> its task. Those in data/sample/own, and those of MORE.
TASKS = {
    "reviews.csv": {"kind": "classification", "text": "review", "label": "stars"},
    "topics.jsonl": {"kind": "classification", "text": "title", "label": "topic"},
    "pairs.json": {"kind": "regression", "text": ["sentence1", "sentence2"], "label": "labels.real-label"},
    "tags.conll": {"kind": "tagging"},
    "reading.json": {"kind": "span"},
    "sets.tsv": SETS | {"label_separator": "|"},
    "switches.csv": SETS | {"label": ["art", "music"]},
    "sets.jsonl": SETS,
    "tags.jsonl": {"kind": "tagging", "text": "words", "label": "tags"},
    "choices.csv": CHOICES,
    "endings.jsonl": {
        "kind": "multiple_choice",
        "text": "context",
        "choices": ["endings.0", "endings.1", "endings.2"],
        "label": "label",
    },
    "quoted.txt": {"kind": "classification", "text": "text", "label": "y", "format": "csv", "delimiter": "\t"},
    "rows.parquet": {"kind": "classification", "text": "m.text", "label": "y"},
}
RECORDS = ["topics.jsonl", "endings.jsonl", "sets.jsonl", "tags.jsonl", "pairs.json", "reading.json"]


def lines_of(*records):
    return "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records).encode()


def parquet_of(**columns):
    buffer = io.BytesIO()
    parquet.write_table(pa.table(columns), buffer)
    return buffer.getvalue()


MORE = {
    "sets.tsv": "text\ttopics\n그림과 노래\tart|music\n노래\tmusic\n없음\t\n".encode(),
    "quoted.txt": 'text\ty\n"그림\t""노래""\n책"\ta\n음악\tb\n없음\ta\n'.encode(),
    "switches.csv": 'text,art,music\n"그림, 노래",1,1\n노래,0,true\n없음,0,0\n'.encode(),
    "sets.jsonl": lines_of({"text": "그림과 노래", "topics": ["art", "music"]}, {"text": "노래", "topics": "music"}),
    "tags.jsonl": lines_of({"words": ["김민준", "화가"], "tags": ["B-PER", "O"]}, {"words": "서울 간다", "tags": "B-LOC O"}),
    "rows.parquet": parquet_of(m=[{"text": "그림"}, {"text": "노래"}, {"text": "책"}], y=["a", "b", "a"]),
}


def content_of(name):
    return MORE[name] if name in MORE else (OWN / name).read_bytes()


@pytest.fixture
def read(settings, tmp_path):
    """read(name, content) loads a file of this name with this content: returns the split or raises DataError."""
    chosen = settings("naver-ner", feature_cache_dir=os.devnull, max_query_length=16, doc_stride=16)
    tokenizer = load_tokenizer(chosen, word_level=True)
    tasks = {name: make_task("own", definition, name) for name, definition in TASKS.items()}

    def load(name, content):
        (tmp_path / name).write_bytes(content)
        file = describe_files({"train": tmp_path / name})["train"]
        return load_split("train", file, chosen, complete_task(tasks[name], {"train": file}), tokenizer)

    return load


def count_rows(name, content):
    """Return the number of rows, for CoNLL of words, in a valid file, counted in the simplest way."""
    if name.endswith(".parquet"):
        return 3  # nothing that keeps the file readable changes their number
    text = content.decode("utf-8-sig")
    lines = text.split("\n")
    if name.endswith((".csv", ".txt")):
        delimiter = TASKS[name].get("delimiter", ",")
        return sum(bool(row) for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)) - 1
    if name.endswith(".tsv"):
        return len(lines) - (lines[-1] == "") - 1
    if name.endswith(".conll"):
        comment = re.compile(r"#(?!([^\t ]* +|[^\t]*\t *)(O|[BIES]-.+|[^\t]+-[BIES])$)|-DOCSTART-(\t| |$)")
        return sum(not comment.match(line.rstrip()) for line in lines if line.strip())
    if name.endswith(".jsonl"):
        return sum(bool(line.strip()) for line in lines)
    content = json.loads(text)
    if name == "reading.json":
        return sum(len(paragraph["qas"]) for article in content["data"] for paragraph in article["paragraphs"])
    return len(content if isinstance(content, list) else content.get("rows") or content["data"])


def rows_or_error(read, name, content):
    """Return whether a file is accepted. Every row of it must be in the split, and the file's name in an error."""
    try:
        split = read(name, content)
    except DataError as error:
        assert name in str(error)
        return False
    words = sum(len(example.words) for example in split.examples) if name.endswith(".conll") else split.facts["rows"]
    assert words == count_rows(name, content)
    return True


@few_or_many
@pytest.mark.parametrize("name", TASKS)
def test_damaged_files(read, name, share):
    content, accepted = content_of(name), []
    assert rows_or_error(read, name, content)
    check_generated(share, 40, damaged(content), lambda case: accepted.append(rows_or_error(read, name, case)))
    assert any(accepted)


@few_or_many
@pytest.mark.parametrize("name", RECORDS)
def test_wrong_types_at_every_level(read, name, share):
    text = content_of(name).decode()
    whole = [json.loads(line) for line in text.splitlines()] if name.endswith(".jsonl") else json.loads(text)

    def check(case):
        path, new = case
        value = replaced(whole, path, new)
        lines = value if name.endswith(".jsonl") and isinstance(value, list) else [value]
        rows_or_error(read, name, "\n".join(json.dumps(line) for line in lines).encode())

    values = st.one_of(VALUES, st.just(10**400), st.just("\ud800"))
    check_generated(share, 40, st.tuples(st.sampled_from(list(places_in(whole))), values), check)


@pytest.mark.parametrize("name", [name for name in TASKS if name not in ("switches.csv", "sets.jsonl", "tags.jsonl")])
def test_a_command_names_a_file_that_is_cut_off(tmp_path, name):
    """Half of the file is missing, and what is left ends inside a character."""
    content = content_of(name)
    cut = len(content) // 2
    while content[cut] < 0x80 and not name.endswith(".parquet"):
        cut += 1
    (tmp_path / name).write_bytes(content[: cut + 1])
    definition = TASKS[name]
    (tmp_path / "own.json").write_text(json.dumps({"definition": definition, "train_file": str(tmp_path / name)}))
    flags = ["--task", str(tmp_path / "own.json"), "--config_file", "tiny.json", "--test_ratio", "0.3"]
    done = run_script(KINDS[definition["kind"]].script, *flags, "--ckpt_dir", str(tmp_path / "ckpt"))
    assert (done.returncode, done.stdout, "Traceback" in done.stderr) == (2, "", False), done.stderr
    assert str(tmp_path / name) in done.stderr
