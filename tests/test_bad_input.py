"""Whatever stands in a file or on a command line: it is used whole, or refused with a sentence. No traceback, no silence."""

import json
import os

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from processor import TASKS, ner, seq_cls, squad
from processor.data_files import describe_files
from src.config import load_settings
from src.errors import BenchmarkError, ConfigError, DataError
from src.models import load_tokenizer
from src.settings import Settings
from tests.conftest import ROOT, SAMPLE

MODULES = {"nsmc": seq_cls, "korsts": seq_cls, "naver-ner": ner, "korquad": squad}
FILES = {"nsmc": "ratings_test.txt", "korsts": "sts-test.tsv", "naver-ner": "test.tsv", "korquad": "KorQuAD_v1.0_dev.json"}
NASTY = [
    b"\t",
    b"\n",
    b"\r\n",
    b"\x00",
    b"\xff",
    b"\xed\xa0\x80",
    b"\xef\xbb\xbf",
    b"\x1c",
    b'"',
    b"{",
    b"]",
    b" ",
    "가".encode() * 999,
]

# How many generated cases: about 300 in all, or 2,000.
few_or_many = pytest.mark.parametrize("share", [1, pytest.param(7, marks=pytest.mark.long)], ids=["few", "many"])


def generated(share, cases, strategy, check):
    """Let `check` see share * cases values."""
    settings = hypothesis.settings(max_examples=share * cases, deadline=20_000, database=None, derandomize=share == 1)
    settings(hypothesis.given(strategy)(check))()


@pytest.fixture
def read(settings, tmp_path):
    """read(task, content) makes features of a file with this content: the split, or DataError."""
    chosen = {task: settings(task, feature_cache_dir=os.devnull) for task in MODULES}
    tokenizers = {task: load_tokenizer(chosen[task], None, word_level=True) for task in MODULES}

    def features(task, content):
        path = tmp_path / "file"
        path.write_bytes(content)
        file = describe_files({"test": path})["test"]
        return MODULES[task].load_split("test", file, chosen[task], TASKS[task], tokenizers[task])

    return features


@pytest.fixture
def cached(settings, tmp_path):
    """The cache file of the sample's features, and how to load them."""
    chosen = settings("nsmc")
    tokenizer = load_tokenizer(chosen, None)
    file = describe_files({"test": SAMPLE / "nsmc" / FILES["nsmc"]})["test"]

    def load():
        return seq_cls.load_split("test", file, chosen, TASKS["nsmc"], tokenizer).features

    load()
    (cache,) = (tmp_path / "cache").iterdir()
    return cache, load


def beginning(task):
    """A small file of a task, whole."""
    content = (SAMPLE / task / FILES[task]).read_bytes()
    if task != "korquad":
        return b"".join(content.splitlines(keepends=True)[:6])
    corpus = json.loads(content)
    corpus["data"] = corpus["data"][:1]
    corpus["data"][0]["paragraphs"] = corpus["data"][0]["paragraphs"][:1]
    return json.dumps(corpus, ensure_ascii=False).encode()


@st.composite
def spoilt(draw, content):
    """`content` with some of it cut out, overwritten, doubled, or nasty bytes put in; or any bytes at all."""
    if draw(st.integers(0, 9)) == 0:
        return draw(st.binary(max_size=300))
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(content)))
        end = draw(st.integers(start, min(len(content), start + 40)))
        between = draw(st.one_of(st.sampled_from(NASTY), st.binary(max_size=4), st.just(content[start:end] * 2)))
        content = content[:start] + between + content[end:]
    return content


def rows_in(task, content):
    """How many rows a file that was taken must have given, by the plainest of readings."""
    if task == "korquad":
        paragraphs = [
            paragraph for article in json.loads(content.decode("utf-8-sig"))["data"] for paragraph in article["paragraphs"]
        ]
        return sum(len(paragraph["qas"]) for paragraph in paragraphs)
    return content.count(b"\n") + (not content.endswith(b"\n")) - TASKS[task].has_header


@few_or_many
@pytest.mark.parametrize("task", MODULES)
def test_spoilt_data_files(read, task, share):
    content = beginning(task)
    assert len(read(task, content)) > 0
    taken = []

    def check(case):
        try:
            split = read(task, case)
        except DataError as error:
            assert len(str(error)) > 20
            return
        taken.append(case)
        rows = len(split.questions) if task == "korquad" else len(split) + split.features.counts.get("skipped", 0)
        assert rows == rows_in(task, case)
        assert len(split.features) >= len(split) > 0
        assert split.features.lengths.min() >= 2

    generated(share, 40, spoilt(content), check)
    assert taken  # some of it does no harm


VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.integers(-3, 3), st.floats(), st.text(max_size=8), st.just(10**30),
    st.just("1e400"), st.lists(st.integers(), max_size=2), st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
)  # fmt: skip


def places(value, path=()):
    """Every place in a JSON value."""
    yield path
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in inner:
        yield from places(each, (*path, key))


def put(value, path, new):
    """`value` with another one at a place."""
    if not path:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = put(value[path[0]], path[1:], new)
    return copy


@few_or_many
def test_wrong_types_at_every_level_of_korquad(read, share):
    corpus = json.loads(beginning("korquad"))

    def check(case):
        path, new = case
        try:
            split = read("korquad", json.dumps(put(corpus, path, new)).encode())
        except DataError as error:
            assert len(str(error)) > 20
        else:
            assert len(split) > 0

    generated(share, 40, st.tuples(st.sampled_from(list(places(corpus))), VALUES), check)


@pytest.mark.parametrize("name", ["output_dir", "data_dir", "train_file", "revision", "model_name_or_path", "ckpt_dir"])
@pytest.mark.parametrize("value", ["a\ud800", "a\0b"])
def test_characters_that_no_name_can_have(tmp_path, name, value):
    (tmp_path / "m.json").write_text(json.dumps({"model_name_or_path": "a/b", "train_file": "f", "test_file": "f", name: value}))
    with pytest.raises(ConfigError, match=f"m.json: {name} = .*(no name and no text can have|unable to parse)"):
        load_settings(["--task", "nsmc", "--config_file", "m.json", "--config_dir", str(tmp_path)], script="x", tasks=["nsmc"])


NAMES = st.one_of(st.sampled_from([*Settings.model_fields, "max_seq_length", "tasks", "learning_rat"]), st.text(max_size=8))


@few_or_many
def test_config_files(tmp_path, share):
    """A model's file of anything: the settings that come of it are good, or the file is named."""
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "nsmc.json").write_bytes((ROOT / "config" / "tasks" / "nsmc.json").read_bytes())

    def check(content):
        whole = {"model_name_or_path": "a/b"} | content if isinstance(content, dict) else content
        (tmp_path / "m.json").write_text(json.dumps(whole))
        try:
            chosen = load_settings(
                ["--task", "nsmc", "--config_file", "m.json", "--config_dir", str(tmp_path)], script="x", tasks=list(TASKS)
            )
        except ConfigError as error:
            assert "m.json" in str(error)
        else:
            assert chosen.train_batch_size > 0
            assert chosen.model_dump() == Settings(**chosen.model_dump()).model_dump()

    generated(share, 50, st.one_of(st.dictionaries(NAMES, VALUES, max_size=4), VALUES), check)


@few_or_many
def test_command_lines(share):
    def check(words):
        try:
            chosen = load_settings(["--task", "nsmc", *words], script="x", tasks=list(TASKS))
        except ConfigError as error:
            assert len(str(error)) > 10
        except SystemExit as error:
            assert error.code == 0 and {"-h", "--help", "--print_settings"} & set(words)
        else:
            assert chosen.learning_rate > 0

    word = st.one_of(
        st.sampled_from([f"--{name}" for name in Settings.model_fields]), st.text(max_size=6), st.integers().map(str)
    )
    generated(share, 40, st.lists(word, max_size=4), check)


@few_or_many
def test_cached_features_that_are_spoilt_are_built_again(cached, share):
    cache, load = cached
    whole = load()
    header = cache.read_bytes()[:400]

    def check(spoilt_header):
        cache.write_bytes(spoilt_header + cache.read_bytes()[400:])
        found = load()
        assert len(found) == len(whole)

    generated(share, 20, spoilt(header), check)


# -- a corpus of broken files ----------------------------------------------------------------------------------------------------

ROW = "1\t정말 최고다\t1\n".encode()
HEADER = b"id\tdocument\tlabel\n"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (bytes(range(256)), "line 2: found the bytes 80 81 82 83, expected UTF-8"),
        (HEADER + ROW + ROW[:-7], "expected UTF-8"),  # cut off inside a letter
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
        (HEADER + b"1\t\t1\n", 1),
        (HEADER.upper() + ROW, "found the header"),
        (ROW, "found the header"),
    ],
)
def test_broken_tables(read, content, expected):
    if isinstance(expected, int):
        assert len(read("nsmc", content)) == expected
        return
    with pytest.raises(DataError, match=expected.replace("²", "\u00b2")):
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
def test_broken_sentences(read, content, expected):
    if isinstance(expected, int):
        assert len(read("naver-ner", content)) == expected
        return
    with pytest.raises(DataError, match=expected):
        read("naver-ner", content)


def test_wrong_commands_on_a_real_run(tiny, tmp_path):
    """A folder where a file should be; an output folder that climbs out of ckpt_dir; numbers that cannot be meant."""
    (tmp_path / "data" / "nsmc" / "ratings_train.txt").mkdir(parents=True)
    for flags, message in (
        (["--data_dir", str(tmp_path / "data")], "ratings_train.txt (train): no such file"),
        (["--output_dir", "../../elsewhere"], 'output_dir = "../../elsewhere": should name a folder of its own in ckpt_dir'),
        (["--train_file", "../../etc/passwd"], "should name a file in <data_dir>/<task>, or be absolute"),
        (["--config_dir", str(tmp_path)], "config"),
        (["--train_batch_size", str(10**30)], "train_batch_size = 1000000000000000000000000000000: should be no more than"),
    ):
        done = tiny(*flags)
        assert done.returncode == 2, done.stderr
        assert message in done.stderr
        assert "Traceback" not in done.stderr


# -- what would run code if it were loaded carelessly ----------------------------------------------------------------------------


def test_poison_in_the_feature_cache(cached, poison):
    cache, load = cached
    whole = load()
    cache.write_bytes(poison)
    again = load()
    assert all(np.array_equal(whole.tensors[name], again.tensors[name]) for name in whole.tensors)


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
def test_poison_in_a_checkpoint_and_in_a_model_folder(settings, tmp_path, poison, name):
    from src.models import load_model

    folder = tmp_path / "model"
    load_model(settings(), "classification", {"0": "0", "1": "1"}).save_pretrained(folder)
    (folder / "model.safetensors").unlink()
    (folder / name).write_bytes(poison)
    for arguments in ((settings(from_scratch=False, model_name_or_path=folder), None), (settings(), folder)):
        chosen, checkpoint = arguments
        with pytest.raises(BenchmarkError):
            load_model(chosen, "classification", {"0": "0", "1": "1"}, checkpoint)
