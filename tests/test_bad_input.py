"""Data files, caches and model folders with any content are used whole or rejected with an error. No tracebacks."""

import json
import os

import numpy as np
import pytest
from hypothesis import strategies as st

from processor.data_files import describe_files
from processor.definition import TASKS
from processor.kinds import load_split
from src.common.errors import BenchmarkError, DataError
from src.model.load import load_checkpoint_model, load_tokenizer, new_model
from tests.conftest import SAMPLE
from tests.generated import VALUES, check_generated, damaged, few_or_many, places_in, replaced

# One task per kind, and a test file of the sample.
FILES = {"nsmc": "ratings_test.txt", "korsts": "sts-test.tsv", "naver-ner": "test.tsv", "korquad": "KorQuAD_v1.0_dev.json"}


@pytest.fixture
def read(settings, tmp_path):
    """read(task, content) loads a file with this content: returns the split or raises DataError."""
    chosen = {task: settings(task, feature_cache_dir=os.devnull) for task in FILES}
    tokenizers = {task: load_tokenizer(chosen[task], word_level=True) for task in FILES}

    def load(task, content):
        path = tmp_path / "file"
        path.write_bytes(content)
        file = describe_files({"test": path})["test"]
        return load_split("test", file, chosen[task], TASKS[task], tokenizers[task])

    return load


@pytest.fixture
def cached(settings, tmp_path):
    """The cache file of the sample's features, and a function that loads them."""
    chosen = settings("nsmc")
    tokenizer = load_tokenizer(chosen)
    file = describe_files({"test": SAMPLE / "nsmc" / FILES["nsmc"]})["test"]

    def load():
        return load_split("test", file, chosen, TASKS["nsmc"], tokenizer).features

    load()
    (cache,) = (tmp_path / "cache").iterdir()
    return cache, load


def first_rows(task):
    """Return the first rows of a task's file in the sample."""
    content = (SAMPLE / task / FILES[task]).read_bytes()
    if TASKS[task].kind != "span":
        return b"".join(content.splitlines(keepends=True)[:6])
    corpus = json.loads(content)
    corpus["data"] = corpus["data"][:1]
    corpus["data"][0]["paragraphs"] = corpus["data"][0]["paragraphs"][:1]
    return json.dumps(corpus, ensure_ascii=False).encode()


def count_rows(task, content):
    """Return the number of rows in a valid file, counted in the simplest way."""
    if TASKS[task].kind == "span":
        articles = json.loads(content.decode("utf-8-sig"))["data"]
        return sum(len(paragraph["qas"]) for article in articles for paragraph in article["paragraphs"])
    return content.count(b"\n") + (not content.endswith(b"\n")) - TASKS[task].header


@few_or_many
@pytest.mark.parametrize("task", FILES)
def test_damaged_data_files(read, task, share):
    content = first_rows(task)
    assert len(read(task, content)) > 0
    accepted = []

    def check(case):
        try:
            split = read(task, case)
        except DataError as error:
            assert len(str(error)) > 20
            return
        accepted.append(case)
        assert split.facts["rows"] + split.features.counts.get("skipped", 0) == count_rows(task, case)
        assert len(split.features) >= split.facts["rows"] > 0
        assert split.features.lengths.min() >= 2

    check_generated(share, 40, damaged(content), check)
    assert accepted  # some damage does no harm


@few_or_many
def test_wrong_types_at_every_level_of_korquad(read, share):
    corpus = json.loads(first_rows("korquad"))

    def check(case):
        path, new = case
        try:
            split = read("korquad", json.dumps(replaced(corpus, path, new)).encode())
        except DataError as error:
            assert len(str(error)) > 20
        else:
            assert len(split) > 0

    check_generated(share, 40, st.tuples(st.sampled_from(list(places_in(corpus))), VALUES), check)


@few_or_many
def test_rebuilds_damaged_cached_features(cached, share):
    cache, load = cached
    whole = load()
    header = cache.read_bytes()[:400]

    def check(damaged_header):
        cache.write_bytes(damaged_header + cache.read_bytes()[400:])
        assert len(load()) == len(whole)

    check_generated(share, 20, damaged(header), check)


ROW = "1\t정말 최고다\t1\n".encode()
HEADER = b"id\tdocument\tlabel\n"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (bytes(range(256)), "line 2: found the bytes 80 81 82 83, expected UTF-8"),
        (HEADER + ROW + ROW[:-7], "expected UTF-8"),  # cut off inside a character
        (b"\xef\xbb\xbf" + HEADER + ROW, 1),
        (HEADER.replace(b"\n", b"\r\n") + ROW.replace(b"\n", b"\r\n"), 1),
        (HEADER + b"1\t1\n" + ROW, "line 2: found 2 columns, expected 3"),
        (HEADER + b"\t" + ROW, "line 2: found 4 columns, expected 3"),
        (b"", "the file is empty"),
        (b"\n\n", "line 1: found the header"),
        (HEADER, "found a header and no rows"),
        (HEADER + ROW, 1),
        (HEADER + ROW[:-1], 1),  # no newline at the end
        (HEADER + b"1\t" + "최고 ".encode() * 100_000 + b"\t1\n", 1),
        (HEADER + b"1\t\xed\xa0\x80\t1\n", "line 2: found the bytes ed a0 80 09, expected UTF-8"),
        (HEADER + b"1\tno\x00thing\t1\n", 1),
        (HEADER + b"1\tgood\t\xc2\xb2\n", "found '\u00b2', expected one of 0, 1"),
        (HEADER + b"1\t\t1\n", "no row has a token"),
        (HEADER + b"1\t\t1\n" + ROW, 2),
        (HEADER.upper() + ROW, "found the header"),
        (ROW, "found the header"),
    ],
)
def test_malformed_tables(read, content, expected):
    if isinstance(expected, int):
        assert len(read("nsmc", content)) == expected
        return
    with pytest.raises(DataError, match=expected):
        read("nsmc", content)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"\xff\xfe", "expected UTF-8"),
        (b"a b\tO\n", "line 1: found 2 words and 1 tags"),
        (b"a\tPERSON-B\n", "line 1: found the tag 'PERSON-B'"),
        (b"a\tO\tO\n", "found 3 columns, expected 2"),
        (b"a O\n", "found 1 columns, expected 2"),
        (b"a\tO", 1),
        (b"\xef\xbb\xbfa\tO\r\n", 1),
        ("가 ".encode() * 50_000 + b"a\t" + b"O " * 50_000 + b"O\n", 1),
    ],
)
def test_malformed_sentences(read, content, expected):
    if isinstance(expected, int):
        assert len(read("naver-ner", content)) == expected
        return
    with pytest.raises(DataError, match=expected):
        read("naver-ner", content)


def test_a_pickle_in_the_feature_cache_is_not_loaded(cached, poison):
    cache, load = cached
    whole = load()
    cache.write_bytes(poison)
    again = load()
    assert all(np.array_equal(whole.tensors[name], again.tensors[name]) for name in whole.tensors)


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
def test_a_pickle_in_a_model_folder_is_not_loaded(settings, tmp_path, poison, name):
    folder = tmp_path / "model"
    labels = {"0": "0", "1": "1"}
    new_model(settings(), "classification", labels).save_pretrained(folder)
    (folder / "model.safetensors").unlink()
    (folder / name).write_bytes(poison)
    with pytest.raises(BenchmarkError):
        new_model(settings(from_scratch=False, model_name_or_path=folder), "classification", labels)
    with pytest.raises(BenchmarkError):
        load_checkpoint_model(folder, "classification", settings())
