"""Own data with answers to choose from, with the real commands: train, hold out, report, compare, predict, check."""

import csv
import json
import random

import pytest

from processor.data_files import describe_files
from processor.definition import make_task
from processor.kinds import load_split
from src.training.evaluate import predict
from src.training.finetune import load_checkpoint
from tests.commands import run_script
from tests.conftest import SAMPLE
from tests.families import FAMILIES, make_family
from tests.test_families import require_gcc

WORDS = ["음악", "선수", "영화", "배우", "결말", "화면"]
STEPS = {"max_seq_len": 16, "max_steps": 150, "learning_rate": 0.003, "save_steps": 150, "logging_steps": 150}
SIZE = 160


def write_rows(path, first_label, seed=0):
    """Write questions in which the right one of four choices is the only one with a certain word."""
    rng = random.Random(seed)
    with open(path, "w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["context", "a", "b", "c", "d", "answer"])
        for number in range(SIZE):
            choices = [rng.choice(WORDS[1:]) for _ in range(4)]
            choices[number % 4] = WORDS[0]
            writer.writerow([rng.choice(WORDS), *choices, number % 4 + first_label])


def places_in(folder):
    return ["--ckpt_dir", str(folder / "ckpt"), "--feature_cache_dir", str(folder / "cache"), "--config_file", "tiny.json"]


@pytest.fixture(scope="module")
def trained_run(tmp_path_factory):
    """The folder of a run on own data, quiz.csv, with labels from 1."""
    folder = tmp_path_factory.mktemp("quiz")
    write_rows(folder / "quiz.csv", 1)
    columns = ["--text_column", "context", "--choice_columns", "a,b,c,d", "--label_column", "answer"]
    flags = ["--task", "quiz", "--kind", "multiple_choice", "--train_file", str(folder / "quiz.csv"), *columns]
    held_out = ["--test_ratio", "0.25", "--dev_ratio", "0.2", "--seed", "1", "--output_dir", "benchmark/tiny/quiz/seed-1"]
    steps = [word for name, value in STEPS.items() for word in (f"--{name}", str(value))]
    done = run_script("run_seq_cls.py", *flags, *held_out, *steps, *places_in(folder))
    assert done.returncode == 0, done.stderr
    return folder / "ckpt" / "benchmark" / "tiny" / "quiz" / "seed-1"


def run_predict(folder, *arguments, stdin=""):
    done = run_script("predict.py", "--checkpoint", str(folder / "checkpoint-150"), *arguments, stdin=stdin)
    assert done.returncode == 0, done.stderr
    return done


def test_learns_a_planted_signal_and_goes_all_the_way(trained_run, tmp_path):
    results = json.loads((trained_run / "eval_results.json").read_text())
    scores = results["selected"]["test"]
    assert results["headline"] == "f1" and scores["f1"] > 0.95 and scores["acc"] > 0.95
    data = json.loads((trained_run / "settings.json").read_text())["data"]
    rows = {split: entry["rows"] for split, entry in data.items()}  # questions; equal ones are on one side
    assert rows["test"] == 40 and rows["train"] + rows["dev"] == 120 and 20 <= rows["dev"] <= 28
    header, *rows = [line.split("\t") for line in (trained_run / "test" / "predictions-150.tsv").read_text().splitlines()]
    assert header == ["index", "context", *"abcd", "label", "prediction", *(f"prob_{label}" for label in "1234")]
    assert sum(row[6] == row[7] for row in rows) / len(rows) == pytest.approx(scores["acc"])
    assert {row[6] for row in rows} == set("1234")  # each held out
    config = json.loads((trained_run / "checkpoint-150" / "config.json").read_text())
    assert config["id2label"] == {"0": "score"}  # one logit for each choice

    ckpt = ["--ckpt_dir", str(trained_run.parents[3])]
    report = run_script("run_benchmark.py", "report", *ckpt).stdout
    assert "**quiz**<br/>(F1)" in report
    compared = run_script("run_benchmark.py", "compare", "tiny", "tiny", *ckpt)
    assert f"| quiz | f1 | {100 * scores['f1']:.2f} |" in compared.stdout, compared.stderr
    assert '"choices": ["...", "..."]' in (trained_run / "checkpoint-150" / "README.md").read_text()

    # The same inputs as JSON, between tabs and as a table give what the run has predicted.
    as_json = [json.dumps({"text": row[1], "choices": row[2:6]}) for row in rows]
    found = [json.loads(line) for line in run_predict(trained_run, stdin="\n".join(as_json)).stdout.splitlines()]
    assert [result["label"] for result in found] == [row[7] for row in rows]
    assert [result["choice"] for result in found] == [row[1 + int(row[7])] for row in rows]
    for result, row in zip(found, rows, strict=True):
        assert list(result["probabilities"].values()) == pytest.approx([float(value) for value in row[8:]], abs=2e-6)
    as_tsv = "\n".join("\t".join(row[1:6]) for row in rows)
    assert [json.loads(line) for line in run_predict(trained_run, stdin=as_tsv).stdout.splitlines()] == found
    table = tmp_path / "new.csv"
    table.write_text("d,context,c,b,first\n" + "".join(f"{row[5]},{row[1]},{row[4]},{row[3]},{row[2]}\n" for row in rows))
    out = tmp_path / "out.csv"
    run_predict(trained_run, "--input", str(table), "--choice_columns", "first,b,c,d", "--output", str(out))
    with open(out, encoding="utf-8", newline="") as stream:
        assert [record["label"] for record in csv.DictReader(stream)] == [row[7] for row in rows]


def test_wrong_inputs_of_predict(trained_run, tmp_path):
    lines = ['{"text": "음악"}', '{"text": "음악", "choices": ["선수"]}', '{"text": "음악", "choices": ["a", "b", "c", "d"]}']
    done = run_predict(trained_run, stdin="\n".join(lines))
    missing, few, right = map(json.loads, done.stdout.splitlines())
    assert "'choices' is missing" in missing["error"] and "expected a list of 4 texts" in few["error"] and "label" in right
    (tmp_path / "new.csv").write_text("context,a,b,c\n음악,1,2,3\n")
    for flags, expected in (([], "no column 'd'"), (["--choice_columns", "a,b"], "found 2 columns, expected 4")):
        command = ["--checkpoint", str(trained_run / "checkpoint-150"), "--input", str(tmp_path / "new.csv"), *flags]
        done = run_script("predict.py", *command)
        assert (done.returncode, "--choice_columns" in done.stderr, expected in done.stderr) == (2, True, True), done.stderr


@pytest.mark.parametrize(
    "family",
    [family if family in ("roberta", "modernbert") else pytest.param(family, marks=pytest.mark.long) for family in FAMILIES],
)
def test_every_family_has_the_head(tmp_path, family):
    """And a checkpoint predicts what its run has written."""
    require_gcc(family)
    given = make_family(family, tmp_path / "model") | {
        "output_dir": "run",
        "train_batch_size": 4,
        "max_seq_len": 64,
        "max_steps": 2,
    }
    model = [word for name, value in given.items() for word in (f"--{name}", str(value))]
    columns = ["--text_column", "context", "--choice_columns", "endings.0,endings.1,endings.2", "--label_column", "label"]
    file = str(SAMPLE / "own" / "endings.jsonl")
    own = ["--task", "own", "--kind", "multiple_choice", "--train_file", file, "--test_file", file, *columns]
    done = run_script("run_seq_cls.py", *own, *places_in(tmp_path), *model)
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "ckpt" / "run"
    rows = [line.split("\t") for line in (folder / "test" / "predictions-2.tsv").read_text("utf-8").splitlines()[1:]]
    trust = ["--trust_native_code"] if family == "hanbert" else []
    stdin = "\n".join("\t".join(row[1:5]) for row in rows)
    done = run_script("predict.py", "--checkpoint", str(folder / "checkpoint-2"), *trust, stdin=stdin)
    assert done.returncode == 0, done.stderr
    for line, row in zip(done.stdout.splitlines(), rows, strict=True):
        probabilities = json.loads(line)["probabilities"].values()
        assert list(probabilities) == pytest.approx([float(value) for value in row[7:]], abs=2e-6)


@pytest.mark.parametrize("changes", [{"padding": "longest"}, {"padding": "max_length"}, {"eval_batch_size": 1}])
def test_scores_do_not_depend_on_batches_and_padding(trained_run, settings, changes):
    checkpoint = trained_run / "checkpoint-150"
    record = json.loads((trained_run / "settings.json").read_text())
    task = make_task("quiz", record["definition"], "record")
    outputs = []
    for given in ({}, changes):
        chosen = settings(max_seq_len=16, **given)
        file = describe_files({"test": trained_run.parents[4] / "quiz.csv"})["test"]
        tokenizer, task_model = load_checkpoint(chosen, task, checkpoint)
        split = load_split("test", file, chosen, task, tokenizer)
        values, loss = predict(task_model, split.features, chosen.evaluation_budget)
        assert values.shape == (SIZE, 4)
        outputs.append((values, loss))
    assert outputs[0][0] == pytest.approx(outputs[1][0], abs=1e-4)
    assert outputs[0][1] == pytest.approx(outputs[1][1], abs=1e-5)


@pytest.mark.parametrize(
    ("file", "flags"),
    [
        (
            "choices.csv",
            ["--text_column", "상황", "--text_pair_column", "물음", "--choice_columns", "가,나", "--label_column", "정답"],
        ),
        (
            "endings.jsonl",
            ["--text_column", "context", "--choice_columns", "endings.0,endings.1,endings.2", "--label_column", "label"],
        ),
    ],
)
def test_the_sample_files(tmp_path, file, flags):
    places = places_in(tmp_path)
    own = ["--task", "own", "--kind", "multiple_choice", "--train_file", str(SAMPLE / "own" / file), "--test_ratio", "0.3"]
    done = run_script("run_seq_cls.py", *own, *flags, *places, "--max_steps", "2")
    assert done.returncode == 0, done.stderr
    printed = run_script("run_seq_cls.py", *own, *flags, *places, "--print_task")
    config = tmp_path / "config" / "tasks"
    config.mkdir(parents=True)
    (config / "own.json").write_text(printed.stdout)
    checked = run_script("processor.check", "own", "--config_dir", str(tmp_path / "config"))
    assert checked.returncode == 0 and f"{file}: " in checked.stdout, checked.stderr
    assert "labels: " in checked.stdout
