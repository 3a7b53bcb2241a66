"""A task and a metric that a user adds: a file in config/tasks, a row in METRICS, and data. A kind: two rows."""

import json
import runpy
import shutil
from functools import partial

from tests.commands import run_forked
from tests.conftest import ROOT

ADDITIONS = '''
import numpy as np
from src.metrics.metrics import METRICS, Metric


def mcc(labels, preds):
    """Return Matthews correlation of two classes."""
    from sklearn.metrics import matthews_corrcoef

    return {"mcc": float(matthews_corrcoef(labels, preds))}


def weighted_mcc(columns):
    first = columns["label"][0]
    gold, pred = (np.array(columns[name]) == first for name in ("label", "prediction"))

    def score(weights):
        tp, fn, fp, tn = (weights @ cell for cell in (gold & pred, gold & ~pred, ~gold & pred, ~gold & ~pred))
        scale = np.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn))
        return np.divide(tp * tn - fp * fn, scale, out=np.zeros_like(scale), where=scale > 0)

    return score


METRICS["mcc"] = Metric(mcc, "mcc", {"mcc": "MCC"}, {"mcc": weighted_mcc})
'''

DEFINITION = {
    "title": "Topics",
    "kind": "classification",
    "columns": ["text", "topic"],
    "text": "text",
    "label": "topic",
    "labels": {"sports": "sports", "politics": "politics"},
    "metric": "mcc",
}


def test_a_new_task_with_a_new_metric(tmp_path):
    data, config = tmp_path / "data" / "topics", tmp_path / "config"
    data.mkdir(parents=True)
    (config / "tasks").mkdir(parents=True)
    shutil.copy(ROOT / "config" / "tiny.json", config)
    rows = [
        f"{'축구 경기' if number % 2 else '국회 선거'} {number}\t{'sports' if number % 2 else 'politics'}" for number in range(40)
    ]
    for name in ("train.tsv", "test.tsv"):
        (data / name).write_text("\n".join(["text\ttopic", *rows]) + "\n")
    files = {"definition": DEFINITION, "train_file": "train.tsv", "test_file": "test.tsv", "max_seq_len": 16, "max_steps": 20}
    (config / "tasks" / "topics.json").write_text(json.dumps(files))
    (tmp_path / "inputs.txt").write_text("국회 선거\n")
    (tmp_path / "additions.py").write_text(ADDITIONS)

    ckpt = ["--ckpt_dir", str(tmp_path / "ckpt")]
    places = ["--config_dir", str(config), "--data_dir", str(tmp_path / "data"), *ckpt]
    folder = tmp_path / "ckpt" / "benchmark" / "tiny" / "topics" / "seed-1"
    run = ["--task", "topics", "--config_file", "tiny.json", "--seed", "1", "--output_dir", "benchmark/tiny/topics/seed-1"]
    commands = [
        ["run_seq_cls.py", *run, *places, "--feature_cache_dir", str(tmp_path / "cache")],
        ["run_benchmark.py", "report", *ckpt],
        ["run_benchmark.py", "compare", "tiny", "tiny", "--tasks", "topics", *ckpt],
        ["predict.py", "--checkpoint", str(folder / "checkpoint-20"), "--input", str(tmp_path / "inputs.txt")],
    ]
    add = partial(runpy.run_path, str(tmp_path / "additions.py"))
    results = [run_forked(*command, before=add) for command in commands]
    assert [done.returncode for done in results] == [0] * 4, [done.stderr for done in results]
    run, report, compared, predicted = (done.stdout for done in results)
    score = json.loads((folder / "eval_results.json").read_text())["selected"]["test"]["mcc"]
    assert score > 0.5 and f"test {score:.4f}" in run
    assert "**Topics**<br/>(MCC)" in report and f"**{100 * score:.2f}** (n=1)" in report
    assert f"| topics | mcc | {100 * score:.2f} | {100 * score:.2f} | +0.00 |" in compared
    assert json.loads(predicted)["label"] in ("sports", "politics")


NEW_KIND = """
from dataclasses import replace

from processor.kinds import KINDS
from src.model.heads import HEADS

KINDS["emotion"] = replace(KINDS["classification"], defaults={"metric": "macro_f1", "text": ["said"], "label": "felt"})
HEADS["emotion"] = replace(HEADS["classification"], summed_loss=lambda *given: 2 * HEADS["classification"].summed_loss(*given))
"""


def test_a_new_kind_is_a_row_in_two_tables(tmp_path):
    rows = [f"{'좋아요' if number % 2 else '싫어요'} {number}\t{'joy' if number % 2 else 'anger'}" for number in range(40)]
    for name in ("train.tsv", "test.tsv"):
        (tmp_path / name).write_text("\n".join(["said\tfelt", *rows]) + "\n")
    (tmp_path / "rows.py").write_text(NEW_KIND)
    (tmp_path / "inputs.txt").write_text("좋아요\n")
    files = ["--train_file", str(tmp_path / "train.tsv"), "--test_file", str(tmp_path / "test.tsv")]
    places = ["--ckpt_dir", str(tmp_path / "ckpt"), "--feature_cache_dir", str(tmp_path / "cache")]
    flags = ["--task", "feelings", "--kind", "emotion", "--config_file", "tiny.json", "--max_seq_len", "16", "--max_steps", "20"]
    folder = tmp_path / "ckpt" / "tiny-feelings-ckpt"
    add = partial(runpy.run_path, str(tmp_path / "rows.py"))
    done = run_forked("run_seq_cls.py", *flags, *files, *places, before=add)
    assert done.returncode == 0, done.stderr
    assert json.loads((folder / "eval_results.json").read_text())["selected"]["test"]["f1"] > 0.5
    predict = ["predict.py", "--checkpoint", str(folder / "checkpoint-20"), "--input", str(tmp_path / "inputs.txt")]
    predicted = run_forked(*predict, before=add)
    assert predicted.returncode == 0, predicted.stderr
    assert json.loads(predicted.stdout)["label"] in ("joy", "anger")
