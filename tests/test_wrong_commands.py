"""Command lines of the three scripts: help, printed settings, and mistakes, which end with one message and exit code 2."""

import json
import re

import pytest

from processor.definition import TASKS, tasks_of
from processor.kinds import KINDS
from src.settings.schema import Settings
from tests.commands import run_script

SAMPLE = ["--data_dir", "data/sample"]
TINY = ["--config_file", "tiny.json", *SAMPLE]
MISTAKES = [
    ("run_seq_cls.py", ["--task", "naver-ner"], "run_seq_cls.py.*naver-ner.*nsmc"),
    ("run_seq_cls.py", ["--task", "paws", "--dev_ratio", "0.1"], "dev_ratio = 0.1.*dev_2k.tsv"),
    ("run_seq_cls.py", ["--task", "nsmc", "--learningrate", "1"], "learningrate.*learning_rate"),
    ("run_seq_cls.py", ["--task", "nsmc", "--data_dir", "no/such"], "no/such/nsmc/ratings_train.txt"),
    ("run_seq_cls.py", ["--task", "nsmc", *SAMPLE, "--model_name_or_path", "./no"], "./no: no such folder"),
    ("run_seq_cls.py", ["--task", "nsmc", *TINY, "--max_seq_len", "513"], "513.*512"),
    ("run_seq_cls.py", ["--task", "nsmc", *SAMPLE, "--do_train", "false"], "koelectra-base-v3-nsmc-ckpt"),
    ("run_seq_cls.py", ["--task", "nsmc", *SAMPLE, "--no_cuda", "--mixed_precision", "fp16"], "fp16.*GPU"),
    # A path that leaves ckpt_dir or the data folder, a number out of range.
    ("run_seq_cls.py", ["--task", "nsmc", *TINY, "--output_dir", "../../elsewhere"], r'output_dir = "\.\./\.\./elsewhere"'),
    ("run_seq_cls.py", ["--task", "nsmc", *TINY, "--train_file", "../../no/such-file"], r"train_file = .*<data_dir>/<task>"),
    ("run_seq_cls.py", ["--task", "nsmc", *TINY, "--config_dir", "no/such"], "no/such"),
    ("run_seq_cls.py", ["--task", "nsmc", *TINY, "--train_batch_size", str(10**30)], f"train_batch_size = {10**30}"),
    ("run_ner.py", ["--task", "nsmc"], "run_ner.py.*nsmc.*naver-ner"),
    ("run_squad.py", ["--task", "nsmc"], "run_squad.py.*nsmc.*korquad"),
    ("run_squad.py", [*TINY, "--max_seq_len", "128"], "doc_stride = 128 .*max_seq_len = 128 .*max_query_length = 64 .*3 special"),
    ("run_squad.py", [*TINY, "--version_2_with_negative", "maybe"], "version_2_with_negative"),
    ("run_squad.py", [*TINY, "--answer_text", "old"], "answer_text"),
]


@pytest.mark.parametrize(("script", "arguments", "pattern"), MISTAKES, ids=[pattern for *_, pattern in MISTAKES])
def test_mistakes_end_with_one_message_and_code_2(tmp_path, script, arguments, pattern):
    done = run_script(script, *arguments, "--ckpt_dir", str(tmp_path / "ckpt"), "--feature_cache_dir", str(tmp_path))
    assert done.returncode == 2
    assert re.search(pattern, done.stderr, re.DOTALL)
    assert done.stderr.count("error: ") == 1
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "ckpt").exists()


def test_a_hub_that_cannot_be_reached_exits_with_code_1(tiny):
    done = tiny("--model_name_or_path", "org/no-such-model")
    assert done.returncode == 1
    assert "error: 'org/no-such-model'" in done.stderr
    assert "Traceback" not in done.stderr


def test_help_lists_tasks_config_files_and_every_setting():
    done = run_script("run_seq_cls.py", "--help")
    assert done.returncode == 0
    assert all(f"--{name} " in done.stdout for name in Settings.model_fields)
    assert all(task in done.stdout for task in tasks_of("run_seq_cls.py"))
    assert "koelectra-base-v3.json" in done.stdout


def test_printed_settings_are_json_and_nothing_else(command):
    done = command("run_seq_cls.py", "--task", "nsmc", "--seed", "7", "--print_settings")
    shown = json.loads(done.stdout)
    assert shown["seed"] == {"value": 7, "layer": "command line"}
    assert shown["logging_steps"] == {"value": 2000, "layer": "config/tasks/nsmc.json"}
    assert shown["model_name_or_path"]["value"] == "monologg/koelectra-base-v3-discriminator"
    assert done.stderr == ""


@pytest.mark.parametrize("script", sorted({kind.script for kind in KINDS.values()}))
def test_a_script_of_one_task_does_not_need_its_name(script):
    tasks = [name for name, task in TASKS.items() if task.script == script]
    done = run_script(script, "--print_settings")
    if len(tasks) == 1:
        assert json.loads(done.stdout)["task"]["value"] == tasks[0]
    else:
        assert (done.returncode, "--task" in done.stderr) == (2, True)
