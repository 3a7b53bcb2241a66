"""The benchmarks run, and their figures are consistent. What they measure is not tested."""

import json
import os
import re
import subprocess

import pytest

from tests.commands import run_forked
from tests.conftest import ROOT, SAMPLE

MODEL = ["--model_name_or_path", "data/sample/tiny-electra", "--data_dir", "data/sample"]


def measure(tmp_path, script, *flags):
    out = tmp_path / "figures.json"
    done = run_forked(script, *MODEL, *flags, "--out", str(out))
    assert done.returncode == 0, done.stderr
    return json.loads(out.read_text()), done.stdout


@pytest.mark.long
@pytest.mark.parametrize(
    ("task", "ways"),
    [("hate-speech", "d"), ("naver-ner", "abcde"), ("korquad", "abcde")],
)
def test_training(tmp_path, task, ways):
    report, printed = measure(tmp_path, "benchmarks/train_speed.py", "--cases", task, "--ways", ways, "--steps", "2")
    case = report["cases"][task]
    assert list(case["ways"]) == list(ways)
    for name, figures in case["ways"].items():
        assert figures["peak_bytes"] > 1e8
        assert 0 < figures["share"] < 1
        assert f"| {name} | {figures['median_s']:,} | {figures['mean_s']:,} | {figures['tokens_per_s']:,} |" in printed
    for pair, ratio in case["ratios"].items():
        one, other = (case["ways"][name]["tokens_per_s"] for name in pair.split(" / "))
        assert ratio == pytest.approx(one / other, rel=0.01, abs=0.005)  # ratios are rounded to two digits
    assert report["machine"]["torch"]
    assert str(ROOT) not in json.dumps(report)


@pytest.mark.long
def test_features(tmp_path):
    report, _ = measure(tmp_path, "benchmarks/features_speed.py", "--rounds", "2")
    seconds = {name: figures["median_s"] for name, figures in report["ways"].items()}
    assert set(seconds) == {"tokenizer", "features", "cached", "imports", "first update"}
    assert all(median > 0 for median in seconds.values())
    assert seconds["first update"] < 60
    assert report["ratios"]["features / tokenizer"] == pytest.approx(seconds["features"] / seconds["tokenizer"], abs=0.01)


@pytest.mark.long
def test_prediction(tmp_path):
    report, printed = measure(tmp_path, "benchmarks/predict_speed.py", "--rows", "100", "--blocks", "2")
    speed = {name: figures["rows_per_s"] for name, figures in report["ways"].items()}
    pipelines = {name: rate for name, rate in speed.items() if name.startswith("pipeline")}
    assert speed.keys() - pipelines.keys() == {"sorted", "scoring", "predict.py"}
    assert len(pipelines) == 3 and report["rows"] == 100
    assert report["ratios"]["scoring / pipeline"] == pytest.approx(speed["scoring"] / max(pipelines.values()), abs=0.01)
    assert f"scoring / sorted {report['ratios']['scoring / sorted']}" in printed


@pytest.mark.parametrize("dropout", [True, False])
def test_a_model_to_measure(tmp_path, dropout):
    flags = [] if dropout else ["--no_dropout"]
    done = run_forked("benchmarks/models.py", "base", str(tmp_path / "base"), *flags)
    assert done.returncode == 0, done.stderr
    config = json.loads((tmp_path / "base" / "config.json").read_text())
    assert (config["hidden_size"], config["num_hidden_layers"], config["vocab_size"]) == (768, 12, 35000)
    assert ("hidden_dropout_prob" in config) is not dropout
    assert (tmp_path / "base" / "vocab.txt").read_bytes() == (SAMPLE / "tiny-electra" / "vocab.txt").read_bytes()


@pytest.mark.long
@pytest.mark.parametrize("flags", [["--case", "korquad"], ["--case", "nsmc", "--scoring"]])
def test_a_profile(flags):
    done = run_forked("benchmarks/profile_training.py", *MODEL, *flags, "--steps", "1", "--rows", "40")
    assert done.returncode == 0, done.stderr
    assert "aten::addmm" in done.stdout and "Self CPU" in done.stdout


def test_the_gpu_script_names_what_it_has_no_time_for(tmp_path):
    given = {"PYTHON": os.fspath(ROOT / ".venv" / "bin" / "python"), "LIMIT": "0"}
    command = ["bash", str(ROOT / "benchmarks" / "gpu.sh"), str(tmp_path / "out")]
    done = subprocess.run(command, env=os.environ | given, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    parts = [line.partition(":")[0] for line in done.stdout.splitlines() if "not run" in line]
    assert {"checks", "train-small-32", "train-base-128", "predict-small", "profile-scoring", "grid-0,0,0,0"} <= set(parts)


def test_torch_is_prepared_before_it_is_imported():
    scripts = sorted((ROOT / "benchmarks").glob("[a-z]*_*.py"))
    assert len(scripts) == 4
    for path in scripts:
        before, _, after = path.read_text(encoding="utf-8").partition("\nprepare_torch()\n")
        assert after and not re.search(
            "^(import|from) (torch|transformers|benchmarks|processor|src.(?!common))", before, re.MULTILINE
        )


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (["--cases", "hate"], "hate: "),
        (["--ways", "ax"], "a, b, c, d, e"),
        (["--model_name_or_path", "/nowhere"], "/nowhere: "),
    ],
)
def test_rejects_wrong_arguments(flags, expected):
    done = run_forked("benchmarks/train_speed.py", *MODEL, *flags)
    assert done.returncode == 2
    assert expected in done.stderr
