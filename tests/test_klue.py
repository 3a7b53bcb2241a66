"""The tasks of KLUE, which are nothing but files in config/tasks."""

import json

import numpy as np
import pytest

from processor.definition import TASKS
from src.metrics.metrics import METRICS
from src.settings.layers import load_settings
from tests.commands import run_script
from tests.conftest import ROOT

COMMIT = "https://raw.githubusercontent.com/KLUE-benchmark/KLUE/3efd98708a40ff49251fddde35453f8fbb11f536/klue_benchmark"
# task -> kind, text, label, headline, rows of train and dev, epochs of KLUE-baseline
KLUE = {
    "ynat": ("classification", ("title",), "label", "f1", (45678, 9107), 3),
    "klue-sts": ("regression", ("sentence1", "sentence2"), "labels.real-label", "pearson", (11668, 519), 4),
    "klue-nli": ("classification", ("premise", "hypothesis"), "gold_label", "acc", (24998, 3000), 5),
}


def settings_of(task, model, script="run_seq_cls.py"):
    return load_settings(
        ["--task", task, "--config_file", model, "--config_dir", str(ROOT / "config")], script=script, tasks=TASKS
    )


@pytest.mark.parametrize("name", KLUE)
def test_definitions(name):
    task, (kind, text, label, headline, rows, _) = TASKS[name], KLUE[name]
    assert (task.kind, task.text, task.label, task.headline) == (kind, text, (label,), headline)
    assert (task.suite, task.format, task.licence, task.scored_on) == ("klue", "json", "CC BY-SA 4.0", "dev")
    train, dev = (f"{name}-v1.1_{split}.json" for split in ("train", "dev"))
    assert {file: facts.url for file, facts in task.files.items()} == {
        file: f"{COMMIT}/{name}-v1.1/{file}" for file in (dev, train)
    }
    assert (task.files[train].rows, task.files[dev].rows) == rows
    settings = settings_of(name, "klue-bert-base.json")
    assert (settings.train_file, settings.test_file, settings.has_dev) == (train, dev, False)
    assert list(TASKS).index(name) >= 8  # behind the published columns


def test_labels_in_the_order_of_klue():
    assert "".join(label[0] for label in TASKS["ynat"].labels) == "정경사생세I스"
    assert list(TASKS["klue-nli"].labels) == ["entailment", "contradiction", "neutral"]
    assert set(TASKS["klue-sts"].scores) == {"pearson", "f1"} <= set(METRICS["similarity"].weighted)


@pytest.mark.parametrize("name", KLUE)
def test_recipes_of_klue_baseline(name):
    def recipe(model):
        chosen = settings_of(name, model)
        common = (chosen.train_batch_size, chosen.max_seq_len, chosen.weight_decay, chosen.num_train_epochs)
        assert common == (32, 128, 0.0, KLUE[name][5])
        return chosen.learning_rate, chosen.warmup_proportion

    assert recipe("klue-bert-base.json") == recipe("koelectra-base-v3.json") == (5e-5, 0.1)
    assert recipe("klue-roberta-large.json") == ((2e-5, 0.1) if name == "klue-sts" else (5e-5, 0.2))


def test_the_recipe_and_the_labels_of_named_entities():
    task = TASKS["klue-ner"]
    assert list(task.labels) == [f"{mark}-{kind}" for kind in ["PS", "LC", "OG", "DT", "TI", "QT"] for mark in "BI"] + ["O"]
    assert (task.kind, task.format, task.scores, task.scored_on) == (
        "character_tagging",
        "conll",
        ("entity_f1", "char_f1"),
        "dev",
    )
    assert {file: facts.rows for file, facts in task.files.items()} == {
        "klue-ner-v1.1_train.tsv": 21008,
        "klue-ner-v1.1_dev.tsv": 5000,
    }
    for model, recipe in {"klue-bert-base.json": (32, 5e-5, 0.0), "klue-roberta-large.json": (8, 1e-5, 0.0)}.items():
        chosen = settings_of("klue-ner", model, "run_ner.py")
        assert (chosen.train_batch_size, chosen.learning_rate, chosen.warmup_proportion) == recipe
        assert (chosen.max_seq_len, chosen.num_train_epochs) == (256, 3)


def test_the_classes_of_sentence_similarity(shared):
    """Scores from 3 on are KLUE's own binary labels."""
    rows = [
        row["labels"]
        for split in ("train", "dev")
        for row in json.loads((shared / "data" / "klue" / "klue-sts" / f"klue-sts-v1.1_{split}.json").read_text("utf-8"))
    ]
    assert len(rows) == 519
    scores = METRICS["similarity"].compute(
        np.array([row["real-label"] for row in rows]), np.array([3.0 * row["binary-label"] for row in rows])
    )
    assert scores["f1"] == 1.0


@pytest.mark.parametrize("name", ["klue-sts", "klue-nli", "klue-ner"])
def test_real_rows(shared, tmp_path, name):
    folders = {"data_dir": shared / "data" / "klue", "ckpt_dir": tmp_path / "ckpt", "feature_cache_dir": tmp_path / "cache"}
    flags = [word for flag, folder in folders.items() for word in (f"--{flag}", str(folder))]
    flags += ["--max_seq_len", "128", "--max_steps", "4"]
    done = run_script(TASKS[name].script, "--task", name, "--config_file", "tiny.json", *flags)
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "ckpt" / f"tiny-{name}-ckpt" / "eval_results.json").read_text())
    assert results["data"]["test"]["rows"] == {"klue-sts": 119, "klue-nli": 1000, "klue-ner": 800}[name]
    assert set(TASKS[name].scores) <= results["selected"]["test"].keys()
