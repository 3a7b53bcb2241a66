import json
import unicodedata

import numpy as np
import pytest

from processor import data_checks
from processor.data_checks import check_files
from processor.data_files import describe_files
from processor.definition import TASKS, make_task
from processor.kinds import load_split
from src.common.errors import ConfigError, DataError
from src.model.load import load_tokenizer
from tests.processor.helpers import corpus, question

BASE = {"kind": "classification", "text": "x", "label": "y", "labels": {"0": "0", "1": "1"}}
OWN = make_task("own", BASE, "f")
GROUPED = OWN.model_copy(update={"group": ("person",)})


@pytest.fixture
def check(settings, tmp_path):
    """check(train="x,y\\n...", ...) checks csv files with these contents, of the task OWN or another one."""

    def checked(task=OWN, suffix="csv", base="nsmc", flags=None, **contents):
        for name, content in contents.items():
            (tmp_path / f"{name}.{suffix}").write_text(content, encoding="utf-8")
        paths = {name: tmp_path / f"{name}.{suffix}" for name in contents}
        return check_files(describe_files(paths, {}), settings(base, **(flags or {})), task)

    return checked


def table(*texts, header="x,y"):
    return f"{header}\n" + "".join(f"{text},{row % 2}\n" for row, text in enumerate(texts))


def test_equal_texts_in_one_file_and_in_two(check):
    decomposed = unicodedata.normalize("NFD", "정말 좋다")
    files = check(train=table("정말 좋다", "나쁘다", f" {decomposed}\u3000", "정말  좋다"), test=table("그저", decomposed))
    train, test = files["train"].rows, files["test"].rows
    assert train.groups.tolist() == [0, 1, 0, 2]
    assert np.isin(test.texts, train.texts).tolist() == [False, True]
    assert (train.notes, test.notes) == ((), ())


def test_a_column_of_numbers_as_text(check):
    (note,) = check(train=table("12", " 7", "31"))["train"].rows.notes
    assert "every text is a number, such as '12'" in note and "'x'" in note
    assert check(train=table("12", "7번"))["train"].rows.notes == ()


def test_pairs_are_equal_if_both_texts_are(check):
    pairs = OWN.model_copy(update={"text": ("x", "z")})
    rows = check(pairs, train="x,z,y\n가,나다,0\n가나,다,0\n가,나다,1\n다,나다,1\n")["train"].rows
    assert rows.groups.tolist() == [0, 1, 0, 2]


def test_a_file_is_parsed_once(check, monkeypatch, tmp_path):
    """What is kept does not serve another file, definition or split, and a damaged one is read again."""
    contents = {"train": table("가", "nan", "가"), "test": table("나", "다")}
    first = check(**contents)
    parsed = []
    read = data_checks.read_rows
    monkeypatch.setattr(data_checks, "read_rows", lambda name, *rest: parsed.append(name) or read(name, *rest))
    again = check(**contents)
    assert parsed == []
    for name, file in first.items():
        rows = again[name].rows
        assert (rows.texts.tolist(), rows.groups.tolist(), rows.notes) == (
            file.rows.texts.tolist(),
            file.rows.groups.tolist(),
            file.rows.notes,
        )
    assert "'nan', in 1 row, line 3" in first["train"].rows.notes[0]
    check(**contents | {"test": table("나", "라")})
    check(OWN.model_copy(update={"text": ("y",)}), **contents)
    assert parsed == ["test", "train", "test"]
    for path in (tmp_path / "cache" / ".rows").iterdir():
        path.write_bytes(b"x")
    check(**contents)
    assert parsed == ["test", "train", "test", "train", "test"]


def test_malformed_rows_of_every_file(check):
    for name in ("dev", "test"):
        with pytest.raises(DataError, match=rf"{name}\.csv: 1 malformed rows:\n.*line 3: y: found '2'"):
            check(train=table("가", "나"), **{name: "x,y\n가,1\n나,2\n"})


def test_rows_that_a_run_leaves_out(check, settings, tmp_path):
    """They are no examples: groups are those of the others."""
    task = TASKS["paws"]
    rows = ["id\tsentence1\tsentence2\tlabel", "1\t가\t나\t0", "2\t\t나\t0", "3\t가\t다\t1", "4\t가\t나\t1"]
    files = check(task, "tsv", "paws", train="\n".join(rows) + "\n")
    assert files["train"].rows.groups.tolist() == [0, 1, 0]
    chosen = settings("paws")
    split = load_split("train", files["train"], chosen, task, load_tokenizer(chosen))
    assert split.groups.tolist() == [0, 1, 0] and len(split) == 3
    kept, held_out = split.divide(0.4)
    assert (kept.tolist(), held_out.tolist()) == ([0, 2], [1])


def test_a_file_with_other_columns_and_choices_that_are_equal(check):
    """In train the text is z, the label w, the group who; rows with the same text and the same choices are copies."""
    other = {"text": "z", "label": ["w"], "group": ["who"], "delimiter": ";", "spellings": {"no": "0", "yes": "1"}}
    task = make_task("own", {**BASE, "group": "person", "per_file": {"train.csv": other}}, "f")
    train = "who;x;w;z\n나;1;no;가\n너;2;yes;다\n나;3;0;라\n"
    files = check(task, train=train, test="x,y,person\n다,1,그\n")
    assert files["train"].rows.groups.tolist() == [0, 1, 0]
    assert np.isin(files["test"].rows.texts, files["train"].rows.texts).tolist() == [True]
    quiz = {"kind": "multiple_choice", "text": "x", "choices": ["a", "b"], "label": "y", "labels": {"0": "0", "1": "1"}}
    content = "x,a,b,y\n가,1,2,0\n가,2,1,1\n가,1,2,0\n"
    assert check(make_task("own", quiz, "f"), train=content)["train"].rows.groups.tolist() == [0, 1, 0]


def test_groups_of_a_column(check):
    rows = [("가", "a"), ("나", "b"), ("다", "a"), ("라", ""), ("마", ""), ("나", "c"), ("바", "c")]
    content = "x,y,person\n" + "".join(f"{text},0,{person}\n" for text, person in rows)
    assert check(GROUPED, train=content)["train"].rows.groups.tolist() == [0, 1, 0, 2, 3, 1, 1]
    records = "".join(json.dumps({"x": text, "y": "0", "person": number}) + "\n" for number, (text, _) in enumerate(rows[:3]))
    assert check(GROUPED, "jsonl", train=records + records)["train"].rows.groups.tolist() == [0, 1, 2] * 2
    with pytest.raises(DataError, match=r"expected 'person'"):
        check(GROUPED, train=table("가"))
    tags = make_task("tags", {"kind": "tagging", "labels": {"O": "O", "B-X": "B-X"}, "group": "person"}, "f")
    with pytest.raises(DataError, match=r"train\.conll: it has no columns, so there is no 'person'"):
        check(tags, "conll", "naver-ner", train="가 O\n")


@pytest.mark.parametrize(
    ("contents", "flags", "expected"),
    [
        (table(*map(str, range(20))), {"test_ratio": 0.01}, r"test_ratio = 0\.01 holds out 0 of 20 rows"),
        (
            table(*["가"] * 18, "나", "다"),
            {"dev_ratio": 0.4},
            r"dev_ratio = 0\.4 holds out 2 of 20 rows .* 3 groups have 18, 1, 1 rows",
        ),
        (table(*["가"] * 20), {"dev_ratio": 0.4}, r"dev_ratio = 0\.4 holds out 0 of 1 groups"),
        (table("가", "나"), {"dev_ratio": 0.5, "test_ratio": 0.5}, r"dev_ratio = 0\.5 holds out 0 of 1 rows"),
    ],
)
def test_shares_that_cannot_be_held_out(check, contents, flags, expected):
    with pytest.raises(ConfigError, match=expected):
        check(train=contents, flags=flags | {"test_file": ""} if "test_ratio" in flags else flags)


def test_articles_and_contexts_stay_together(check):
    """Articles 0 and 2 share a context."""
    contexts = ["ab cd a", "ab cd b", "ab cd a", "ab cd c"]
    articles = [corpus(question(f"q{n}a"), question(f"q{n}b"), context=context)["data"][0] for n, context in enumerate(contexts)]
    files = check(TASKS["korquad"], "json", "korquad", train=json.dumps({"data": articles}))
    assert files["train"].rows.groups.tolist() == [0, 0, 1, 1, 0, 0, 2, 2]


@pytest.mark.parametrize("task", ["korquad", "paws"])
def test_splits_of_data_without_copies_are_those_of_version_1_0_0(settings, task):
    chosen = settings(task)
    files = describe_files({"train": chosen.data_files["train"]})
    checked = check_files(files, chosen, TASKS[task])
    tokenizer = load_tokenizer(chosen, word_level=task == "korquad")
    parts = [load_split("train", each["train"], chosen, TASKS[task], tokenizer).hold_out(0.2)[1] for each in (files, checked)]
    assert parts[0].rows.tolist() == parts[1].rows.tolist()


@pytest.mark.parametrize("task", ["nsmc", "naver-ner", "korsts", "question-pair"])
def test_copies_stay_on_one_side_of_a_hold_out(settings, task):
    chosen = settings(task)
    files = check_files(describe_files({"train": chosen.data_files["train"]}), chosen, TASKS[task])
    whole = load_split("train", files["train"], chosen, TASKS[task], load_tokenizer(chosen, word_level=task == "naver-ner"))
    assert len(np.unique(whole.groups)) < whole.size
    train, test = whole.hold_out(0.2, "test")
    train, dev = train.hold_out(0.2)
    for one, other in ((train, test), (train, dev), (dev, test)):
        assert not np.isin(one.texts, other.texts).any()
        assert other.beside(one).facts["in_train"] == 0
    assert test.facts["share"] == pytest.approx(0.2, abs=0.02)
    assert whole.select("test", np.arange(5)).beside(whole).in_train == 5
