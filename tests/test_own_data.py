"""One's own data, from the command line alone and as a task file: trained, in the table, predicted from a CSV file."""

import csv
import json
import os
import shutil
import sys
from functools import partial

import pytest

from tests.commands import run_forked, run_script
from tests.conftest import SAMPLE

DEFINITION = {"kind": "classification", "columns": ["n", "text", "topic"], "text": "n", "label": "topic"}
DEFINITION["labels"] = {"스포츠": "스포츠", "정치": "정치"}
MESSAGES = [("축구 경기가 좋다", "1"), ("영화가 아깝다", "0"), ("{웃음} 재밌다", "1"), ("별로", "0")]


@pytest.fixture
def run(tmp_path):
    """run("run_squad.py", ...) runs a script with the tiny model for a few updates, its folders in tmp_path."""

    def run(script, *arguments, code=0):
        places = ["--ckpt_dir", str(tmp_path / "ckpt"), "--feature_cache_dir", str(tmp_path / "cache")]
        done = run_script(script, "--config_file", "tiny.json", "--max_steps", "4", *places, *arguments)
        assert done.returncode == code, done.stderr
        return done

    return run


@pytest.fixture
def topics(tmp_path):
    """The path of a task file, whose definition has the wrong text column, beside its data."""
    rows = [f"{n}\t{'축구 경기' if n % 2 else '국회 선거'} {n}\t{'스포츠' if n % 2 else '정치'}\n" for n in range(40)]
    (tmp_path / "train.tsv").write_text("n\ttext\ttopic\n" + "".join(rows))
    content = {"definition": DEFINITION, "train_file": str(tmp_path / "train.tsv"), "test_file": str(tmp_path / "train.tsv")}
    (tmp_path / "topics.json").write_text(json.dumps(content))
    return tmp_path / "topics.json"


def test_a_task_that_only_the_command_line_defines(run, tmp_path):
    """The printed task file, saved under its name, gives the same run."""
    task = "내 독해"
    names = ["KorQuAD_v1.0_train.json", "KorQuAD_v1.0_dev.json"]
    train, test = (shutil.copy(SAMPLE / "korquad" / name, tmp_path) for name in names)
    flags = ["--task", task, "--train_file", str(train), "--test_file", str(test), "--max_seq_len", "256"]
    first = run("run_squad.py", *flags)
    assert f"{task}: f1" in first.stdout
    assert "published file" not in first.stderr
    record = json.loads((tmp_path / "ckpt" / f"tiny-{task}-ckpt" / "settings.json").read_text())
    assert record["definition"]["kind"] == "span"

    saved = tmp_path / "config" / "tasks" / f"{task}.json"
    saved.parent.mkdir(parents=True)
    shutil.copy("config/tiny.json", tmp_path / "config")
    saved.touch()  # as `> FILE` does before the command starts
    config = ["--config_dir", str(tmp_path / "config")]
    printed = run("run_squad.py", *flags, *config, "--print_task")
    assert printed.stderr == ""
    saved.write_text(printed.stdout)
    again = run("run_squad.py", "--task", task, *config)
    assert (again.stdout, again.stderr) == (first.stdout, "")  # the scores of the finished run


def test_flags_over_a_task_file_and_predictions_as_csv(run, topics, tmp_path):
    run("run_seq_cls.py", "--task", str(topics), "--text_column", "text", "--max_steps", "20")
    with open(tmp_path / "new.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["번호", "기사"], ["1", "축구 경기,\n5"], ["2", "국회 선거 4"]])
    checkpoint = tmp_path / "ckpt" / "tiny-topics-ckpt" / "checkpoint-20"
    files = ["--input", str(tmp_path / "new.csv"), "--output", str(tmp_path / "labels.csv")]
    done = run_script("predict.py", "--checkpoint", str(checkpoint), *files, "--text_column", "기사")
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    with open(tmp_path / "labels.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["번호", "기사", "label", "prob_스포츠", "prob_정치"]
    assert [row[:3] for row in rows[1:]] == [["1", "축구 경기,\n5", "스포츠"], ["2", "국회 선거 4", "정치"]]

    missing = run_script("predict.py", "--checkpoint", str(checkpoint), *files)
    assert (missing.returncode, "'text'" in missing.stderr, "--text_column" in missing.stderr) == (2, True, True)
    pair = run_script("predict.py", "--checkpoint", str(checkpoint), *files, "--text_pair_column", "기사")
    assert (pair.returncode, "--text_pair_column" in pair.stderr) == (2, True)
    lines = run_script("predict.py", "--checkpoint", str(checkpoint), "--text_column", "기사", stdin="x\n")
    assert (lines.returncode, ".csv" in lines.stderr) == (2, True)


def test_predicts_files_with_the_names_of_training(run, tmp_path):
    """As JSON, TSV and CSV: the file of training itself, and texts under the key `text`."""
    rows = [{"id": str(number), "message": text, "label": label} for number, (text, label) in enumerate(MESSAGES * 10)]
    train = tmp_path / "messages.jsonl"
    train.write_text("".join(json.dumps(row) + "\n" for row in rows))
    columns = ["--text_column", "message", "--label_column", "label", "--test_ratio", "0.2"]
    run("run_seq_cls.py", "--task", "messages", "--train_file", str(train), *columns, "--max_steps", "2")
    checkpoint = str(tmp_path / "ckpt" / "tiny-messages-ckpt")

    def labels(name, write, *flags):
        (tmp_path / name).write_text("".join(map(write, rows)))
        done = run_script("predict.py", "--checkpoint", checkpoint, "--input", str(tmp_path / name), *flags)
        assert done.returncode == 0, done.stderr
        return [json.loads(line)["label"] for line in done.stdout.splitlines()]

    expected = labels("texts.jsonl", lambda row: json.dumps({"text": row["message"]}) + "\n")
    assert len(expected) == len(rows) and set(expected) <= {"0", "1"}
    assert labels("a.jsonl", lambda row: json.dumps({**row, "text": "?"}) + "\n") == expected
    assert labels("b.jsonl", lambda row: json.dumps({"body": row["message"]}) + "\n", "--text_column", "body") == expected
    for suffix, separator in ((".tsv", "\t"), (".txt", "\t"), (".csv", ",")):
        (tmp_path / f"c{suffix}").write_text(
            "".join(separator.join(row) + "\n" for row in [list(rows[0]), *(list(row.values()) for row in rows)])
        )
        done = run_script("predict.py", "--checkpoint", checkpoint, "--input", str(tmp_path / f"c{suffix}"))
        assert [json.loads(line)["label"] for line in done.stdout.splitlines()] == expected, suffix


@pytest.mark.long
def test_the_table_of_a_task_file(run, topics, tmp_path):
    """The grid knows the task by the path of its file and by its name in a config folder; the report by its record."""
    ckpt_dir = ["--ckpt_dir", str(tmp_path / "ckpt")]
    run("run_seq_cls.py", "--task", str(topics), "--seed", "1", "--output_dir", "benchmark/tiny/topics/seed-1")
    (tmp_path / "config" / "tasks").mkdir(parents=True)
    shutil.copy(topics, tmp_path / "config" / "tasks")
    shutil.copy("config/tiny.json", tmp_path / "config")
    flags = ["--models", "tiny", "--seeds", "1,2", "--max_steps", "4", "--dry_run", *ckpt_dir]
    for task in ([str(topics)], ["topics", "--config_dir", str(tmp_path / "config")]):
        planned = run_script("run_benchmark.py", "run", *flags, "--tasks", *task)
        assert "1 finished, 1 new" in planned.stdout, planned.stderr
        assert f"--task {task[0]} " in planned.stdout
    report = run_script("run_benchmark.py", "report", *ckpt_dir)
    assert "**topics**" in report.stdout, report.stderr
    for chosen in ("topics", str(topics)):
        compared = run_script("run_benchmark.py", "compare", "tiny", "tiny", "--tasks", chosen, *ckpt_dir)
        assert "| topics | acc |" in compared.stdout, compared.stderr


def test_mistakes(run, topics, tmp_path):
    for script, flags, expected in [
        ("run_seq_cls.py", ["--task", "mine", "--train_file", "no.csv", "--text_column", "a"], "--label_column is missing"),
        ("run_squad.py", ["--task", "mine", "--train_file", str(topics)], "--test_file FILE, or --test_ratio"),
        ("run_squad.py", ["--task", "mine", "--train_file", "no.json", "--test_file", str(topics)], "data/mine/no.json and "),
        ("run_seq_cls.py", ["--task", f"{tmp_path}/no.json"], "no.json cannot be read"),
    ]:
        done = run(script, *flags, code=2)
        assert expected in done.stderr and "Traceback" not in done.stderr
    done = run_script("run_benchmark.py", "run", "--models", "tiny", "--text_column=a")
    assert (done.returncode, "--text_column" in done.stderr, "--print_task" in done.stderr) == (2, True, True)
    assert not (tmp_path / "ckpt").exists()


def record_opened_files(log):
    """Write the path of every .csv file that this process opens into the file at `log`, a line for each time."""

    def record(event, arguments):
        if event == "open" and str(arguments[0]).endswith(".csv"):
            descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.write(descriptor, f"{arguments[0]}\n".encode())
            os.close(descriptor)

    sys.addaudithook(record)


def test_each_data_file_is_opened_once(tmp_path):
    """Labels taken from train, predictions written for dev and test."""
    files = {}
    for name in ("train", "dev", "test"):
        rows = [f"{'축구' if n % 2 else '선거'} {n} {name},{'스포츠' if n % 2 else '정치'}\n" for n in range(40)]
        files[f"--{name}_file"] = str(tmp_path / f"{name}.csv")
        (tmp_path / f"{name}.csv").write_text("text,label\n" + "".join(rows))
        os.utime(tmp_path / f"{name}.csv", (1e9, 1e9))
    log = tmp_path / "opened.txt"
    flags = [part for pair in files.items() for part in pair] + ["--text_column", "text", "--label_column", "label"]
    places = ["--ckpt_dir", str(tmp_path / "ckpt"), "--feature_cache_dir", str(tmp_path / "cache")]
    command = ["run_seq_cls.py", "--task", "topics", "--config_file", "tiny.json", "--max_steps", "4", *flags, *places]
    done = run_forked(*command, before=partial(record_opened_files, log))
    assert done.returncode == 0, done.stderr
    assert sorted(log.read_text().splitlines()) == sorted(files.values())
    assert list(tmp_path.glob("ckpt/*/test/predictions-4.tsv"))
