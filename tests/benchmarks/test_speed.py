"""The benchmarks run, and their figures are consistent. What they measure is not tested."""

import json

import pytest

from tests.commands import run_forked
from tests.conftest import ROOT

MODEL = ["--model_name_or_path", "data/sample/tiny-electra", "--data_dir", "data/sample"]


def measure(tmp_path, script, *flags):
    out = tmp_path / "figures.json"
    done = run_forked(script, *MODEL, *flags, "--out", str(out))
    assert done.returncode == 0, done.stderr
    return json.loads(out.read_text()), done.stdout


@pytest.mark.parametrize(
    ("task", "ways"),
    [("hate-speech", "d"), *(pytest.param(task, "abcde", marks=pytest.mark.long) for task in ("naver-ner", "korquad"))],
)
def test_training(tmp_path, task, ways):
    report, printed = measure(tmp_path, "benchmarks/train_speed.py", "--cases", task, "--ways", ways, "--steps", "2")
    case = report["cases"][task]
    assert list(case["ways"]) == list(ways)
    for name, figures in case["ways"].items():
        assert figures["peak_bytes"] > 1e8
        assert 0 < figures["share"] < 1
        assert f"| {name} | {figures['median_s']} | {figures['mean_s']} | {figures['tokens_per_s']:,} |" in printed
    for pair, ratio in case["ratios"].items():
        one, other = (case["ways"][name]["tokens_per_s"] for name in pair.split("/"))
        assert ratio == pytest.approx(one / other, rel=0.01, abs=0.005)  # ratios are rounded to two digits
    assert report["machine"]["torch"]
    assert str(ROOT) not in json.dumps(report)


@pytest.mark.long
def test_features(tmp_path):
    report, _ = measure(tmp_path, "benchmarks/features_speed.py", "--rounds", "1")
    assert set(report["figures"]) == {"tokenizer", "offsets", "features", "cached", "imports", "first update"}
    assert all(figure["seconds"] > 0 for figure in report["figures"].values())
    assert report["figures"]["first update"]["seconds"] < 60


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
