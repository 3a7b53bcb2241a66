import json
from pathlib import Path

import pytest

from processor.definition import TASKS
from processor.own_task import FIELDS, FLAGS, read_command
from src.common.errors import ConfigError
from src.data.task import Task
from src.settings.layers import load_settings
from tests.conftest import ROOT

REVIEWS = {"kind": "classification", "columns": ["review", "stars", "reply"], "text": "review", "label": "stars"}
REVIEWS["labels"] = {"1": "bad", "2": "good"}


@pytest.fixture
def config(tmp_path):
    """A config folder with the task reviews."""
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "reviews.json").write_text(json.dumps({"definition": REVIEWS, "train_file": "t.tsv", "seed": 3}))
    return tmp_path


def read(config, line, script="run_seq_cls.py"):
    return read_command([*line.split(), "--config_dir", str(config)], script)


def definition(config, line, script="run_seq_cls.py"):
    return read(config, line, script).content["definition"]


def error_of(config, line, script="run_seq_cls.py"):
    with pytest.raises(ConfigError) as caught:
        read(config, line, script)
    return str(caught.value)


def test_flags_become_a_definition(config):
    command = read(config, "--task 내-점수 --train_file t.json --seed 3", "run_squad.py")
    assert command.content == {"definition": {"kind": "span"}}
    assert command.tasks["내-점수"].text == ("question", "context")
    assert list(command.argv[:4]) == ["--task", "내-점수", "--train_file", "t.json"]
    assert set(command.tasks) == {"내-점수", "korquad", "klue-mrc"}


def test_flags_replace_the_fields_of_a_file(config):
    assert definition(config, "--task reviews --text_column reply") == REVIEWS | {"text": ["reply"]}
    assert definition(config, "--task reviews --text_pair_column reply") == REVIEWS | {"text": ["review", "reply"]}
    assert definition(config, "--task reviews --label_column reply --metric macro_f1") == REVIEWS | {
        "label": ["reply"],
        "metric": "macro_f1",
    }
    assert definition(config, "--task reviews --group_column reply") == REVIEWS | {"group": ["reply"]}
    assert "--group_column: 'repl' is not one of the columns" in error_of(config, "--task reviews --group_column repl")
    command = read(config, "--task reviews --text_column reply")
    assert command.tasks["reviews"].text == ("reply",)
    assert command.content["seed"] == 3  # the file's settings stay
    assert "--text_column" not in command.argv


def test_answers_to_choose_from_and_a_tab_between_values(config):
    line = r"--task quiz --kind multiple_choice --train_file q.csv --text_column t --label_column l --delimiter \t"
    found = definition(config, f"{line} --choice_columns a,b")
    assert (found["choices"], found["delimiter"], found["label"]) == (["a", "b"], "\t", ["l"])
    assert "--choice_columns: name the columns" in error_of(config, line)
    assert "--choice_columns: a classification task has none" in error_of(config, "--task reviews --choice_columns review,reply")
    assert "--delimiter = " in error_of(config, "--task reviews --delimiter ::")


def test_another_metric_brings_its_own_headline(config):
    task = read(config, "--task nsmc --metric macro_f1").tasks["nsmc"]
    assert (task.metric, task.headline, task.title) == ("macro_f1", "f1", TASKS["nsmc"].title)


def test_without_flags_nothing_changes(config):
    command = read(config, "--task nsmc --train_file t.tsv")
    assert command.tasks["nsmc"] == TASKS["nsmc"]
    assert command.tasks["reviews"].labels == REVIEWS["labels"]
    assert {task.script for task in command.tasks.values()} == {"run_seq_cls.py"}


def test_a_task_file_by_its_path(config, tmp_path):
    path = tmp_path / "elsewhere.json"
    path.write_text(json.dumps({"definition": REVIEWS, "seed": 5}))
    command = read(config, f"--task {path} --text_column reply")
    assert (command.tasks["elsewhere"].text, command.content["seed"]) == (("reply",), 5)
    assert f"{tmp_path}/none.json" in error_of(config, f"--task {tmp_path}/none.json")
    path.write_text("{}")
    assert '"definition" is missing' in error_of(config, f"--task {path}")


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("--task mine --train_file t.tsv", ["--text_column is missing", "--label_column is missing"]),
        ("--task mine --text_pair_column b", ["--text_pair_column needs --text_column"]),
        ("--task reviews --text_column reviews", ["--text_column: 'reviews' is not one of", "Did you mean 'review'?"]),
        ("--task reviews --label_column star", ["--label_column: 'star' is not one of", "Did you mean 'stars'?"]),
        ("--task reviews --kind clasification", ['--kind = "clasification"', "'classification'"]),
        ("--task reviews --kind span", ["--kind span", "run_squad.py"]),
        ("--task reviews --metric acuracy", ["--metric = 'acuracy'", "Did you mean 'accuracy'?"]),
        ("--task reviews --metric entity_f1", ["--metric = 'entity_f1': does not score classification tasks"]),
        ("--task reviews --text_column", ["--text_column"]),
        ("--task a/b --text_column a", ["'a/b'", "folder"]),
        ("--task .. --text_column a", ["'..'", "folder"]),
        ("--task .mine --text_column a", ["'.mine'", "hidden"]),
        ("--task naver-ner", ["'naver-ner'", "run_ner.py"]),
        ("--task kobest", ["kobest is a suite", "run_benchmark.py run --tasks kobest"]),
        (f"--task {'가' * 67} --text_column a", ["200 bytes"]),
    ],
)
def test_errors_have_the_names_of_the_flags(config, line, expected):
    message = error_of(config, line)
    assert all(text in message for text in expected), message


def test_help_does_not_need_a_valid_task(config):
    assert "mine" not in read(config, "--task mine --text_column a --help").tasks
    assert "naver-ner" not in read(config, "--task naver-ner --help").tasks


def test_offers_the_flags_of_the_fields_that_a_task_has():
    assert {"kind", "text_column", "text_pair_column", "label_column", "metric"} <= set(FLAGS)
    assert {FIELDS.get(name, name) for name in FLAGS} <= set(Task.model_fields)


def test_the_task_file_of_a_command_line(config, tmp_path):
    """Definition, settings of the task's file, settings given, absolute paths; nothing about the model or the folders."""
    (tmp_path / "new.tsv").write_text("x")
    line = f"--task reviews --config_file {ROOT}/config/tiny.json --test_file {tmp_path}/new.tsv --seed 4 --bf16 false"
    command = read(config, f"{line} --text_column reply --ckpt_dir elsewhere --print_task")
    settings = load_settings(command.argv, script="run_seq_cls.py", tasks=command.tasks)
    assert command.print_task
    assert json.loads(command.task_file(settings)) == {
        "definition": REVIEWS | {"text": ["reply"]},
        "train_file": str(Path("data/reviews/t.tsv").absolute()),
        "test_file": f"{tmp_path}/new.tsv",
        "seed": 4,
        "mixed_precision": "no",
    }


@pytest.mark.parametrize(("given", "printed"), [("balanced", "balanced"), ("w.json", str(Path("w.json").absolute()))])
def test_a_file_of_weights_has_an_absolute_path_in_a_task_file(config, given, printed):
    line = f"--task reviews --config_file {ROOT}/config/tiny.json --test_ratio 0.1 --class_weights {given} --text_column reply"
    command = read(config, line)
    settings = load_settings(command.argv, script="run_seq_cls.py", tasks=command.tasks)
    assert json.loads(command.task_file(settings))["class_weights"] == printed


def test_windows_of_own_reading_tasks_have_room_for_doc_stride(config, tmp_path):
    (tmp_path / "t.json").write_text("{}")
    line = f"--task mine --train_file {tmp_path}/t.json --config_file {ROOT}/config/tiny.json --test_ratio 0.1"
    for flags, expected in (("", (512, "default")), (" --max_seq_len 300", (300, "command line"))):
        command = read(config, line + flags, "run_squad.py")
        settings = load_settings(command.argv, script="run_squad.py", tasks=command.tasks, default_task="korquad")
        assert (settings.max_seq_len, settings.layer_of("max_seq_len")) == expected
        assert settings.doc_stride == 128
        assert json.loads(command.task_file(settings)).get("max_seq_len") == (300 if flags else None)
