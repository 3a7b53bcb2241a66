"""A task whose rows have any number of labels, with the real commands: train, score again, predict, compare."""

import json
import shutil

import numpy as np
import pytest
from sklearn.metrics import f1_score

from tests.commands import run_script
from tests.conftest import ROOT

WORDS = {"music": "음악", "sports": "선수", "art": "영화"}
DEFINITION = {
    "title": "Topics",
    "kind": "multi_label",
    "columns": ["text", "topics"],
    "text": "text",
    "label": "topics",
    "labels": {"music": "Music", "sports": "Sports", "art": "Art"},
}
SETTINGS = {"train_file": "train.tsv", "test_file": "test.tsv", "max_seq_len": 16, "max_steps": 120}


@pytest.fixture
def topics(tmp_path):
    """topics(*flags) trains and scores; the run is in tmp_path/ckpt/benchmark/tiny/topics/seed-1."""
    data, tasks = tmp_path / "data" / "topics", tmp_path / "config" / "tasks"
    data.mkdir(parents=True), tasks.mkdir(parents=True)
    shutil.copy(ROOT / "config" / "tiny.json", tmp_path / "config")
    (tasks / "topics.json").write_text(json.dumps({"definition": DEFINITION} | SETTINGS))
    sets = [[name for bit, name in enumerate(WORDS) if number % 8 >> bit & 1] for number in range(160)]
    # No text occurs twice: copies would be held out together.
    rows = [
        f"{' '.join(['좋은', *(WORDS[name] for name in names), str(row // 8)])}\t{','.join(names)}"
        for row, names in enumerate(sets)
    ]
    for name, part in (("train.tsv", rows[:120]), ("test.tsv", rows[120:])):
        (data / name).write_text("\n".join(["text\ttopics", *part]) + "\n")
    run = [
        "--task",
        "topics",
        "--config_file",
        "tiny.json",
        "--seed",
        "1",
        "--learning_rate",
        "0.003",
        "--output_dir",
        "benchmark/tiny/topics/seed-1",
    ]
    places = {"config_dir": "config", "data_dir": "data", "ckpt_dir": "ckpt", "feature_cache_dir": "cache"}
    places = [word for flag, folder in places.items() for word in (f"--{flag}", str(tmp_path / folder))]

    def train(*flags):
        steps = ["--learning_rate", "0.003", "--save_steps", "120", "--logging_steps", "120"]  # the model's file has others
        done = run_script("run_seq_cls.py", *run, *places, *steps, *flags)
        assert done.returncode == 0, done.stderr
        return done

    return train


def test_trains_scores_predicts_and_compares(topics, tmp_path):
    from transformers import pipeline

    done = topics("--dev_ratio", "0.2", "--threshold", "dev", "--class_weights", "balanced")
    folder = tmp_path / "ckpt" / "benchmark" / "tiny" / "topics" / "seed-1"
    assert "train: labels: music 48, sports 48, art 48" in done.stderr and "train: 12 rows without a label" in done.stderr
    scores = json.loads((folder / "eval_results.json").read_text())["selected"]
    assert scores["test"]["micro_f1"] > 0.9
    threshold = scores["dev"]["threshold"]
    assert scores["test"]["threshold"] == threshold
    assert json.loads((folder / "settings.json").read_text())["class_weights"] == dict.fromkeys(WORDS, 1.0)

    header, *rows = [line.split("\t") for line in (folder / "test" / "predictions-120.tsv").read_text().splitlines()]
    assert header == ["index", "text", "label", "prediction", "prob_music", "prob_sports", "prob_art"]
    gold, predicted = ([[name in row[column] for name in WORDS] for row in rows] for column in (2, 3))
    for average in ("micro", "macro", "samples"):
        expected = f1_score(np.array(gold), np.array(predicted), average=average, zero_division=average == "samples")
        assert scores["test"][f"{average}_f1"] == pytest.approx(expected)

    results = predict(folder / "checkpoint-120", [row[1] for row in rows])
    assert [json.dumps(result["labels"]) for result in results] == [row[3] for row in rows]
    for result, row in zip(results, rows, strict=True):
        assert list(result["probabilities"].values()) == pytest.approx([float(value) for value in row[4:]], abs=2e-6)
        assert result["labels"] == [name for name, value in result["probabilities"].items() if value >= threshold]
        assert result.get("names", []) == [DEFINITION["labels"][name] for name in result["labels"]]

    classify = pipeline("text-classification", str(folder / "checkpoint-120"), top_k=None)  # of transformers
    by_name = {item["label"]: item["score"] for item in classify([rows[5][1]])[0]}
    names = DEFINITION["labels"]
    assert by_name == pytest.approx({names[label]: p for label, p in results[5]["probabilities"].items()}, abs=1e-5)

    topics("--dev_ratio", "0.2", "--threshold", "0.999", "--class_weights", "balanced", "--do_train", "false")
    scores = json.loads((folder / "eval_results.json").read_text())["selected"]
    assert (scores["test"]["threshold"], scores["test"]["micro_f1"] < 0.9) == (0.999, True)
    assert len(predict(folder / "checkpoint-120", ["음악"])[0]["labels"]) == 0  # by the threshold of the new scores

    report = run_script("run_benchmark.py", "report", "--ckpt_dir", str(tmp_path / "ckpt")).stdout
    assert "**Topics**<br/>(micro F1)" in report
    compared = run_script("run_benchmark.py", "compare", "tiny", "tiny", "--ckpt_dir", str(tmp_path / "ckpt"))
    assert f"| topics | micro_f1 | {100 * scores['test']['micro_f1']:.2f} |" in compared.stdout, compared.stderr


def predict(checkpoint, texts):
    done = run_script("predict.py", "--checkpoint", str(checkpoint), stdin="".join(f"{text}\n" for text in texts))
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]
