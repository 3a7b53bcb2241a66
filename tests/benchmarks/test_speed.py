"""The benchmarks run and their figures hold together; what they measure is no test's business."""

import json

import pytest

from tests.conftest import ROOT

MODEL = ["--model_name_or_path", "data/sample/tiny-electra", "--data_dir", "data/sample"]


def measured(command, tmp_path, script, *flags):
    out = tmp_path / "figures.json"
    done = command(script, *MODEL, *flags, "--out", str(out))
    assert done.returncode == 0, done.stderr
    return json.loads(out.read_text()), done.stdout


@pytest.mark.parametrize(
    ("task", "ways"),
    [("hate-speech", "bd"), *(pytest.param(task, "abcde", marks=pytest.mark.long) for task in ("naver-ner", "korquad"))],
)
def test_training(command, tmp_path, task, ways):
    report, printed = measured(command, tmp_path, "benchmarks/train_speed.py", "--cases", task, "--ways", ways, "--steps", "2")
    case = report["cases"][task]
    assert list(case["ways"]) == list(ways)
    for name, figures in case["ways"].items():
        assert figures["peak_bytes"] > 1e8
        assert 0 < figures["share"] < 1
        assert f"| {name} | {figures['median_s']} | {figures['mean_s']} | {figures['tokens_per_s']:,} |" in printed
    assert case["ratios"]["d/b"] == pytest.approx(case["ways"]["d"]["tokens_per_s"] / case["ways"]["b"]["tokens_per_s"], rel=0.01)
    assert report["machine"]["torch"]
    assert str(ROOT) not in json.dumps(report)


@pytest.mark.long
def test_features(command, tmp_path):
    report, _ = measured(command, tmp_path, "benchmarks/features_speed.py", "--rounds", "1")
    assert set(report["figures"]) == {"tokenizer", "offsets", "features", "cached", "imports", "first update"}
    assert all(figure["seconds"] > 0 for figure in report["figures"].values())
    assert report["figures"]["first update"]["seconds"] < 60


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (["--cases", "hate"], "hate: cases are nsmc, "),
        (["--ways", "ax"], "ways are a, b, c, d, e"),
        (["--model_name_or_path", "/nowhere"], "/nowhere: no folder with a config.json"),
    ],
)
def test_wrong_commands(command, flags, expected):
    done = command("benchmarks/train_speed.py", *MODEL, *flags)
    assert done.returncode == 2
    assert expected in done.stderr
