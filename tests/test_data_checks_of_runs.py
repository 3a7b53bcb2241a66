"""What a run says about its data, in the log and beside its scores, and that it says it before a model is loaded."""

import json

import pytest

from tests.commands import run_script

COLUMNS = ["--text_column", "text", "--label_column", "label"]
SHARED = 2  # test rows that train has


@pytest.fixture
def run(tmp_path):
    """run(*flags, train=..., test=...) trains the tiny model for two updates on csv files of these lines."""

    def run(*flags, **files):
        for name, lines in files.items():
            (tmp_path / f"{name}.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
        paths = [word for name in files for word in (f"--{name}_file", str(tmp_path / f"{name}.csv"))]
        places = ["--ckpt_dir", str(tmp_path / "ckpt"), "--feature_cache_dir", str(tmp_path / "cache"), "--output_dir", "run"]
        model = ["--task", "own", "--config_file", "tiny.json", "--max_steps", "2"]
        return run_script("run_seq_cls.py", *model, *COLUMNS, *paths, *places, *flags)

    return run


@pytest.fixture
def records(tmp_path):
    """records() returns settings.json and eval_results.json of the run."""
    return lambda: [json.loads((tmp_path / "ckpt" / "run" / name).read_text()) for name in ("settings.json", "eval_results.json")]


def rows(count, start=0, person=None):
    return [
        f"{'좋은' if row % 2 else '나쁜'} 영화 {row},{row % 2}" + (f",{person(row)}" if person else "")
        for row in range(start, start + count)
    ]


def cautions(results):
    return "; ".join(results["cautions"]["2"]["test"])


def test_test_rows_that_train_has(run, records):
    done = run(train=["text,label", *rows(60)], test=["text,label", *rows(40, 60 - SHARED)])
    assert done.returncode == 0, done.stderr
    settings, results = records()
    assert settings["data"]["test"]["in_train"] == SHARED and "in_train" not in settings["data"]["train"]
    assert f"{SHARED} of its 40 examples are in train" in cautions(results) and "in train" in done.stdout
    assert f"test: {SHARED} of its 40 examples are in train, too (the same text)" in done.stderr


def test_a_training_file_that_is_the_test_file(run, records):
    content = ["text,label", *rows(40)]
    done = run(train=content, test=content)
    assert done.returncode == 0, done.stderr
    assert "all its 40 examples are in train" in cautions(records()[1])


def test_only_the_rows_that_are_trained_on_count(run, records):
    content = ["text,label", *rows(40)]
    assert run("--max_train_samples", "10", train=content, test=content).returncode == 0
    assert records()[0]["data"]["test"]["in_train"] == 10


def test_groups_are_held_out_as_a_whole(run, records, tmp_path):
    """Ten persons with six rows each; each text twice, by one person."""
    content = [line for line in rows(30, person=lambda row: row // 3) for _ in range(2)]
    done = run("--test_ratio", "0.2", "--dev_ratio", "0.25", "--group_column", "who", train=["text,label,who", *content])
    assert done.returncode == 0, done.stderr
    settings, results = records()
    assert settings["definition"]["group"] == ["who"]
    data = settings["data"]
    assert (data["test"]["held_out"], data["test"]["share"], data["test"]["in_train"]) == (0.2, 0.2, 0)
    assert [data[split]["rows"] for split in ("train", "dev", "test")] == [36, 12, 12]
    assert "in train" not in cautions(results)
    lines = (tmp_path / "ckpt" / "run" / "test" / "predictions-2.tsv").read_text(encoding="utf-8").splitlines()[1:]
    numbers = [int(line.split("\t")[1].split()[-1]) for line in lines]
    assert sorted(numbers) == sorted(number for number in range(30) if number // 3 in {n // 3 for n in numbers} for _ in range(2))
    card = (tmp_path / "ckpt" / "run" / "checkpoint-2" / "README.md").read_text(encoding="utf-8")
    assert "0.2 of it" in card


def test_scores_that_are_made_again_without_train_keep_the_caution(run, records, tmp_path):
    content = ["text,label", *rows(40)]
    assert run(train=content, test=content).returncode == 0
    (tmp_path / "ckpt" / "run" / "eval_results.json").unlink()
    done = run("--do_train", "false", train=content, test=content)
    assert done.returncode == 0, done.stderr
    assert "all its 40 examples are in train" in cautions(records()[1])


@pytest.mark.parametrize(
    ("files", "flags", "expected"),
    [
        ({"test": ["text,label", "가,0", "나,7"]}, [], "test.csv: 1 malformed rows:\n  - line 3: label: found '7'"),
        ({"dev": ["text,label", "가"]}, ["--test_ratio", "0.2"], "dev.csv: 1 malformed rows"),
        ({}, ["--test_ratio", "0.2", "--label_column", "text"], "the column 'text' is named twice"),
        ({}, ["--test_ratio", "0.001"], "test_ratio = 0.001 holds out 0 of 40 rows"),
        ({}, ["--test_ratio", "0.2", "--group_column", "person"], "expected 'person'"),
    ],
)
def test_errors_that_need_no_model(run, tmp_path, files, flags, expected):
    """The folder of the model is missing, which is found later."""
    done = run("--model_name_or_path", str(tmp_path / "missing"), *flags, train=["text,label", *rows(40)], **files)
    assert (done.returncode, "Traceback" in done.stderr) == (2, False)
    assert expected in done.stderr and "missing" not in done.stderr


def test_what_is_wrong_with_all_of_a_file_is_said_once(run):
    """Labels of the training file, and that its words are not in the vocabulary."""
    lines = [line.replace("영화", "뛟뾻쮊 쀏쯂") for line in rows(60)]
    done = run("--test_ratio", "0.2", "--dev_ratio", "0.2", train=["text,label", *lines])
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("unknown to the tokenizer") == 1
    assert done.stderr.count("0 30, 1 30") == 1
