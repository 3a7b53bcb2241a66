"""Messages quote data files and settings briefly, whatever these contain."""

import json

import pytest

from processor.data_files import describe_files
from processor.definition import TASKS, make_task
from processor.kinds import KINDS
from processor.labels import complete_task
from src.common.errors import BenchmarkError, ConfigError, DataError
from src.settings.layers import load_settings
from tests.conftest import ROOT
from tests.processor.helpers import corpus, question

LONG = "긴" * 1_000_000
NSMC = "id\tdocument\tlabel\n"
STS = "\t".join(TASKS["korsts"].columns) + "\n"


def longest_line(error):
    return max(map(len, str(error).split("\n")))


@pytest.mark.parametrize(
    ("task", "content"),
    [
        ("nsmc", NSMC.replace("\n", "\r") + f"1\t{LONG}\t1\r"),
        ("nsmc", f"{LONG}\tlabel\n"),
        ("nsmc", "\t".join("x" * 1_000_000)),
        ("nsmc", NSMC + f"1\t좋다\t{LONG}\n" * 3),
        ("korsts", STS + f"g\tf\ty\t1\t{LONG}\t가\t나\n"),
        ("korsts", STS + f"g\tf\ty\t1\t{'9' * 1_000_000}\t가\t나\n"),
        ("naver-ner", f"가\t{LONG}\n"),
        ("korquad", json.dumps(corpus(question(LONG), question(LONG)))),
        ("korquad", json.dumps(corpus(question("q1", LONG)))),
        ("korquad", json.dumps({LONG: 1, "data": [{"paragraphs": LONG}]})),
        ("korquad", LONG),
    ],
)
def test_messages_about_data_files(settings, tmp_path, task, content):
    path = tmp_path / "f"
    path.write_bytes((content() if callable(content) else content).encode())
    with pytest.raises(BenchmarkError) as caught:
        file = describe_files({"train": path})["train"]
        KINDS[TASKS[task].kind].split.build("train", file.path, settings(task), TASKS[task], None)
    assert str(path) in str(caught.value).split("\n")[0]
    assert longest_line(caught.value) < 400  # shorter than the limit of all messages: nothing but the value is cut


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("f.csv", "\t".join("x" * 1_000_000)),
        ("f.csv", ",".join(map(str, range(100_000)))),
        ("f.csv", f'x,y\n"{LONG}'),
        ("f.csv", f"x,y\n{LONG}\n"),
        ("f.csv", f"x,y\n글,{LONG}\n글,\n"),
        ("f.csv", f"x,y\n글,{LONG}\n"),
        ("f.jsonl", LONG),
        ("f.jsonl", json.dumps({LONG: 1, "x": 2})),
        ("f.jsonl", json.dumps({"x": [LONG], "y": 2})),
        ("f.jsonl", f'{{"{LONG}": 1, "{LONG}": 2}}'),
        ("f.json", lambda: json.dumps([{str(number): 1 for number in range(10_000)}] * 20)),
        ("f.json", json.dumps({LONG: LONG})),
        ("f.conll", f"가 {LONG}\n나\n"),
        ("f.conll", f"가 {LONG}\n나 O\n"),
    ],
)
def test_messages_about_own_files(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes((content() if callable(content) else content).encode())
    task = make_task("own", {"kind": "tagging" if name == "f.conll" else "classification", "text": "x", "label": "y"}, "f")
    with pytest.raises(DataError) as caught:
        complete_task(task, describe_files({"train": path}))
    assert str(path) in str(caught.value).split("\n")[0]
    assert longest_line(caught.value) < 700  # the file, a value and up to 300 characters of names


@pytest.mark.parametrize(
    "flags",
    [
        ["--task", LONG],
        ["--task", "nsmc", f"--{LONG}", "1"],
        ["--task", "nsmc", LONG],
        ["--task", "nsmc", "--seed", LONG],
        ["--task", "nsmc", "--dev_ratio", "0.1", "--dev_file", LONG],
        ["--task", "nsmc", "--test_file", f"../{LONG}"],
    ],
)
def test_messages_about_the_command_line(flags):
    with pytest.raises(ConfigError) as caught:
        load_settings([*flags, "--config_dir", str(ROOT / "config")], script="run_seq_cls.py", tasks=TASKS)
    assert longest_line(caught.value) < 400


@pytest.mark.parametrize(
    "content",
    [
        {LONG: 1},
        {"seed": LONG},
        {"train_batch_size": [1] * 1_000_000},
        {"task": LONG},
        {"tasks": {LONG: {}}},
        {"max_seq_len": 8, "max_seq_length": LONG},
        {"model_name_or_path": LONG + "\0"},
    ],
)
def test_messages_about_config_files(tmp_path, content):
    (tmp_path / "long.json").write_text(json.dumps({"model_name_or_path": "m", "test_file": "t"} | content))
    given = ["--task", "nsmc", "--config_file", "long.json", "--config_dir", str(tmp_path)]
    with pytest.raises(ConfigError) as caught:
        load_settings(given, script="run_seq_cls.py", tasks=TASKS)
    assert longest_line(caught.value) < 400


@pytest.mark.parametrize(
    ("task", "values"),
    [
        ("nsmc", [[LONG]]),
        ("nsmc", [{LONG: LONG}]),
        ("naver-ner", [{LONG: 1}]),
        ("naver-ner", [[[LONG]]]),
        ("korquad", [LONG, {"a": LONG}]),
    ],
)
def test_messages_about_inputs_of_predict(settings, task, values):
    inputs = KINDS[TASKS[task].kind].inputs(TASKS[task], None, settings(task))
    with pytest.raises(ValueError, match=r"found .*긴") as caught:
        inputs.example(values)
    assert longest_line(caught.value) < 400
