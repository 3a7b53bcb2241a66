"""The look at features before training. Ids of the tokenizer of five letters: [UNK] 1, [CLS] 2, [SEP] 3, a 5, b 6."""

import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from processor.data_files import describe_files
from processor.definition import TASKS
from processor.kinds import load_split
from processor.quality import LIMITS, measure, require_content, warnings_of
from processor.seq_features import SequenceExample, encode
from processor.split import warn_of_quality
from src.common.errors import DataError
from src.data.special import SpecialTokens
from src.data.task import Features
from src.settings.layers import load_settings
from tests.conftest import ROOT, SAMPLED_TASKS

HEADER = "id\tdocument\tlabel"
NAMES = {limit.figure for limit in LIMITS}


def figures_of(tokenizer, task, *rows, max_seq_len=16):
    """Return the figures of rows of texts, without those that are 0."""
    examples = [SequenceExample(texts, "0") for texts in rows]
    features = Features(encode(examples, TASKS[task], tokenizer, max_seq_len))
    figures = measure(features, tokenizer, SpecialTokens.of(tokenizer, len(TASKS[task].text)))
    assert figures.keys() == NAMES | {"rows", "tokens"}
    return {name: count for name, count in figures.items() if count}


def test_counts_tokens_and_rows(tokenizer):
    assert figures_of(tokenizer, "nsmc", ("a b",), ("나 a 가",), ("",)) == {
        "rows": 3,
        "tokens": 5,
        "unknown_tokens": 2,
        "empty_rows": 1,
    }
    assert figures_of(tokenizer, "nsmc", ("a b a b",), ("a",), max_seq_len=5) == {"rows": 2, "tokens": 4, "cut_rows": 1}
    assert figures_of(tokenizer, "nsmc", ("a \u1112\u1161",), ("b",)) == {
        "rows": 2,
        "tokens": 3,
        "unknown_tokens": 1,
        "decomposed_rows": 1,
    }


@pytest.mark.parametrize(("texts", "empty"), [(("a b", "b"), 0), (("", "a b"), 1), (("a b", ""), 1), (("", ""), 1)])
def test_counts_pairs_that_lack_a_text(tokenizer, texts, empty):
    assert figures_of(tokenizer, "paws", texts).get("empty_rows", 0) == empty


def test_counts_pairs_that_lack_a_text_between_two_separators():
    """As of RoBERTa: <s> a </s> </s> b </s>."""
    rows = [[0, 7, 2, 2, 8, 2], [0, 2, 2, 8, 2], [0, 7, 2, 2, 2]]
    tensors = {
        "input_ids": np.concatenate(rows),
        "offsets": np.cumsum([0, *map(len, rows)]),
        "cut": np.zeros(3),
        "decomposed": np.zeros(3),
    }
    special = SpecialTokens((((0, 0),), ((2, 0), (2, 0)), ((2, 0),)), (0, 0))
    assert measure(Features(tensors), SimpleNamespace(unk_token_id=None), special) == {
        "rows": 3,
        "tokens": 4,
        "unknown_tokens": 0,
        "empty_rows": 2,
        "cut_rows": 0,
        "decomposed_rows": 0,
    }


def test_a_frame_token_that_is_also_the_unknown_token_does_not_count():
    tensors = {"input_ids": np.array([0, 7, 0, 0]), "offsets": np.array([0, 4]), "cut": np.zeros(1), "decomposed": np.zeros(1)}
    special = SpecialTokens((((0, 0),), ((0, 0),)), (0,))
    assert measure(Features(tensors), SimpleNamespace(unk_token_id=0), special)["unknown_tokens"] == 1


@pytest.mark.parametrize(
    ("figure", "of", "below", "at"),
    [
        ("unknown_tokens", "tokens", 49, 50),
        ("empty_rows", "rows", 9, 10),
        ("cut_rows", "rows", 99, 100),
        ("decomposed_rows", "rows", 0, 1),
    ],
)
def test_warns_from_the_limit_on(figure, of, below, at):
    base = dict.fromkeys(NAMES, 0) | {"rows": 1000, "tokens": 1000}
    assert warnings_of(base | {figure: below}, "window") == []
    (line,) = warnings_of(base | {figure: at}, "window")
    assert line.startswith(f"{at} of 1,000 {of.replace('row', 'window')} ({at / 1000:.1%}")


@pytest.fixture
def load(tmp_path, settings, tokenizer):
    """load("train", "1\\ta b\\t1", ...) returns a split of nsmc with these rows, from the cache the second time."""

    def load_rows(name, *rows):
        (tmp_path / "f.tsv").write_text("\n".join([HEADER, *rows]) + "\n", encoding="utf-8")
        file = describe_files({name: tmp_path / "f.tsv"})[name]
        return load_split(name, file, settings(max_seq_len=8), TASKS["nsmc"], tokenizer)

    return load_rows


@pytest.mark.parametrize("again", ["built", "cached"])
def test_a_file_that_nothing_can_be_learned_from(load, again):
    for _ in range(1 + (again == "cached")):
        for name in ("train", "dev", "test"):
            with pytest.raises(DataError, match=rf"{name}: .*/f\.tsv: no row has a token"):
                load(name, "1\t나\t1", "2\t\t0")
        with pytest.raises(DataError, match=r"train: .*/f\.tsv: all 2 rows have the same tokens"):
            load("train", "1\ta b\t1", "2\ta  b\t0")
    assert len(load("test", "1\ta b\t1", "2\ta  b\t0")) == 2
    assert len(load("train", "1\ta b\t1")) == 1
    assert len(load("train", "1\ta b\t1", "2\tb a\t1")) == 2


def test_rows_of_the_same_length_need_not_be_equal():
    frame_tokens = {"input_ids": np.array([2, 5, 3, 2, 5, 3, 2, 6, 3]), "offsets": np.array([0, 3, 6, 9])}
    figures = {"rows": 3, "tokens": 3, "unknown_tokens": 0}
    require_content("train", Path("f"), Features(frame_tokens), figures, SimpleNamespace(get_vocab=dict))


@pytest.mark.parametrize("share", [0.49, 0.5])
@pytest.mark.parametrize("what", ["unknown to the tokenizer", "letters of Hangul"])
def test_a_training_file_in_another_language_than_the_tokenizer_s(share, what):
    """A hundred tokens: of an English encoder, Korean words are unknown or, with its accents stripped, taken apart."""
    number = round(100 * share)
    ids = np.array([1] * number + [7] * (100 - number))
    figures = {"rows": 2, "tokens": 100, "unknown_tokens": number * (what.startswith("unknown"))}
    vocabulary = {"[UNK]": 1, "the": 7} if what.startswith("unknown") else {"##\u1161": 1, "the": 7}
    features = Features({"input_ids": ids, "offsets": np.array([0, 30, 100])})

    def check(split):
        require_content(split, Path("f.tsv"), features, figures, SimpleNamespace(get_vocab=lambda: vocabulary))

    check("test")  # its scores say so
    if share < 0.5:
        check("train")
    else:
        with pytest.raises(DataError, match=rf"train: f\.tsv: 50 of 100 tokens \(50%\) are {what}"):
            check("train")


def test_records_each_part_that_is_held_out_and_warns_once(load, caplog):
    rows = [f"{row}\t{'a ' * (row + 1)}\t1" for row in range(8)] + [f"{row}\t가\t0" for row in range(8, 16)]
    whole = load("train", *rows)
    assert (
        whole.facts["features"]
        == whole.figures
        == {
            "rows": 16,
            "tokens": 41,
            "unknown_tokens": 8,
            "empty_rows": 0,
            "cut_rows": 2,
            "decomposed_rows": 0,
        }
    )
    train, dev = whole.hold_out(0.25)
    assert [part.facts["features"]["rows"] for part in (train, dev)] == [12, 4]
    assert [train.figures[name] + dev.figures[name] for name in whole.figures] == list(whole.figures.values())
    assert caplog.text == ""
    warn_of_quality({"train": train, "dev": dev})
    unknown, cut = caplog.messages
    assert re.match(r"train: 6 of \d+ tokens \(.*warned from 5%\)", unknown) and unknown.endswith(" dev.")
    assert re.match(r"(train|dev): \d of \d+ rows \(.*warned from 10%\)", cut)


@pytest.mark.parametrize("task", [pytest.param(task, marks=[pytest.mark.long] * (task == "nsmc")) for task in SAMPLED_TASKS])
def test_real_files_give_no_warning(shared, tmp_path, task, caplog):
    """The test files of the eight tasks, with the published vocabulary and lengths."""
    from transformers import BertTokenizer

    (tmp_path / "vocab.txt").write_bytes((shared / "vocab" / "koelectra-vocab.txt").read_bytes())
    tokenizer = BertTokenizer.from_pretrained(tmp_path, do_lower_case=False)
    given = {"model_name_or_path": tmp_path, "data_dir": shared / "data" / "standin", "config_dir": ROOT / "config"}
    flags = [word for name, value in given.items() for word in (f"--{name}", str(value))]
    chosen = load_settings(["--task", task, *flags, "--feature_cache_dir", str(tmp_path)], script="test", tasks=TASKS)
    path = chosen.data_files["test"]
    split = load_split("test", describe_files({"test": path})["test"], chosen, TASKS[task], tokenizer)
    warn_of_quality({"test": split})
    assert [record.getMessage() for record in caplog.records if record.levelname == "WARNING"] == []
    assert split.figures["tokens"] > 0
