"""Own files by task files that name them: shares held out, runs without their training file, mistakes."""

import json

import pytest

from processor.kinds import KINDS
from tests.commands import run_script
from tests.conftest import SAMPLE

OWN = SAMPLE / "own"
REVIEWS = {"kind": "classification", "text": "review", "label": "stars"}


@pytest.fixture
def train(tmp_path):
    """train(definition, file, ...) trains on a file with a task file of these settings; returns the process and the run."""

    def run(definition, file, *flags, **settings):
        (tmp_path / "config" / "tasks").mkdir(parents=True, exist_ok=True)
        content = {"definition": definition, "train_file": str(file), "max_seq_len": 32, "max_steps": 2} | settings
        (tmp_path / "config" / "tasks" / "own.json").write_text(json.dumps(content))
        places = [word for name in ("config", "ckpt") for word in (f"--{name}_dir", str(tmp_path / name))]
        model = ["--config_file", "config/tiny.json", "--feature_cache_dir", str(tmp_path / "cache")]
        done = run_script(KINDS[definition["kind"]].script, "--task", "own", *model, *places, *flags)
        return done, tmp_path / "ckpt" / "tiny-own-ckpt"

    return run


def test_the_rows_held_out_depend_on_neither_seed_nor_dev_ratio(train):
    held_out = []
    for flags in ([], ["--seed", "7"], ["--dev_ratio", "0.3"]):
        done, run = train(REVIEWS, OWN / "reviews.csv", "--resume", "false", *flags, test_ratio=0.3)
        assert done.returncode == 0, done.stderr
        lines = (run / "test" / "predictions-2.tsv").read_text(encoding="utf-8").split("\n")
        held_out.append([line.split("\t")[1:3] for line in lines])
    assert held_out[0] == held_out[1] == held_out[2]
    assert {label for _, label in held_out[0][1:-1]} == {"1", "2", "3"}  # five rows
    data = json.loads((run / "settings.json").read_text())["data"]
    assert [data[split]["rows"] for split in ("train", "dev", "test")] == [9, 4, 5]
    assert (data["dev"]["held_out"], data["test"]["held_out"]) == (0.3, 0.3)


def test_scores_a_run_without_its_training_file(train, tmp_path):
    """The labels are those that the run has recorded."""
    (tmp_path / "train.csv").write_bytes((OWN / "reviews.csv").read_bytes())
    done, run = train(REVIEWS, tmp_path / "train.csv", test_file=str(OWN / "reviews.csv"))
    assert done.returncode == 0, done.stderr
    (tmp_path / "train.csv").unlink()
    (run / "eval_results.json").unlink()
    done, _ = train(REVIEWS, tmp_path / "train.csv", "--do_train", "false", test_file=str(OWN / "reviews.csv"))
    assert done.returncode == 0, done.stderr
    assert (run / "eval_results.json").exists()


@pytest.mark.parametrize(
    ("definition", "settings", "expected"),
    [
        (REVIEWS, {}, ["--test_file", "--test_ratio"]),
        (REVIEWS, {"test_ratio": 0.01}, ["test_ratio = 0.01 holds out 0 of 18 rows"]),
        (
            REVIEWS | {"text": "reviw"},
            {"test_ratio": 0.3},
            ["reviews.csv, line 1: ", "product, review, stars", "Did you mean 'review'?"],
        ),
        (REVIEWS, {"test_file": "TEST"}, ["test.csv: 1 malformed rows:", "line 4: stars: found '4', expected one of 1, 2, 3"]),
    ],
)
def test_mistakes_exit_with_code_2(train, tmp_path, definition, settings, expected):
    (tmp_path / "test.csv").write_text('review,stars\n"좋다\n",3\n아주 좋다,4\n', encoding="utf-8")
    if "test_file" in settings:
        settings = {"test_file": str(tmp_path / "test.csv")}
    done, run = train(definition, OWN / "reviews.csv", **settings)
    assert (done.returncode, run.exists()) == (2, False)
    assert "Traceback" not in done.stderr
    assert all(part in done.stderr for part in expected), done.stderr
