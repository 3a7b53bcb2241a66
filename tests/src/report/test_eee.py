"""Records of Every Eval Ever, through the real command line."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.commands import run_script
from tests.conftest import ROOT
from tests.src.report.helpers import REVISION, finished

MTIME = 1_700_000_000  # 2023-11-14T22:13:20 UTC


def records(tmp_path, *flags):
    done = run_script("run_benchmark.py", "report", "--format", "eee", "--ckpt_dir", str(tmp_path), *flags)
    assert done.returncode == 0, done.stderr
    found = (tmp_path / "benchmark" / "eee").rglob("*.json")
    return {str(path.relative_to(tmp_path / "benchmark" / "eee").parent): json.loads(path.read_text()) for path in found}


def change_settings(cell, **values):
    path = cell.folder / "settings.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_a_record_holds_what_is_known(tmp_path):
    for seed, score in [(1, 90.0), (2, 92.0)]:
        cell = finished(tmp_path, seed=seed, score=score, best=95.0)
        change_settings(cell, model_revision=REVISION)
        os.utime(cell.folder / "eval_results.json", (MTIME, MTIME))
    ((folder, record),) = records(tmp_path, "--organization", "Some Lab", "--relationship", "third_party").items()
    assert folder == "data/nsmc/monologg/koelectra-base-v3-discriminator"
    assert record["schema_version"] == "0.3.0"
    assert record["evaluation_id"] == f"nsmc/monologg/koelectra-base-v3-discriminator/{record['retrieved_timestamp']}"
    assert record["evaluation_timestamp"] == "2023-11-14T22:13:20+00:00"
    assert record["eval_library"]["version"] == "1.0.0"
    assert record["eval_library"]["additional_details"] == {"git_revision": REVISION, "torch": "2.13.0"}
    source = record["source_metadata"]
    assert (source["source_organization_name"], source["evaluator_relationship"]) == ("Some Lab", "third_party")
    model = record["model_info"]
    assert (model["name"], model["id"]) == ("KoELECTRA-Base-v3", "monologg/koelectra-base-v3-discriminator")
    assert model["additional_details"]["base_model_revision"] == REVISION
    (result,) = record["evaluation_results"]
    assert result["metric_config"]["metric_id"] == "accuracy.acc"
    assert (result["metric_config"]["min_score"], result["metric_config"]["max_score"]) == (0, 1)
    score = result["score_details"]
    assert score["score"] == pytest.approx(0.91)
    assert score["uncertainty"]["standard_deviation"] == pytest.approx(0.02 / 2**0.5)
    assert score["uncertainty"]["standard_error"]["value"] == pytest.approx(0.01)
    assert score["uncertainty"]["num_samples"] == 2
    assert (score["details"]["seed_1"], score["details"]["seed_2"]) == ("0.9", "0.92")
    assert score["details"]["checkpoint_selected_by"] == "last"
    assert float(score["details"]["mean_of_checkpoints_best_on_test"]) == 0.95
    data = result["source_data"]
    assert (data["source_type"], data["url"]) == ("url", ["https://github.com/e9t/nsmc"])
    assert data["additional_details"]["test_sha256"] == "a" * 64
    settings = result["generation_config"]["additional_details"]
    assert (settings["learning_rate"], settings["train_batch_size"]) == ("5e-05", "32")


def test_what_is_unknown_or_differs_is_said(tmp_path):
    """A model from a folder, other data than the published ones, two scores, a score with a sign, one seed, two machines."""
    cell = finished(tmp_path, "tiny", "korquad", score=50.0, weights="b" * 64, status="other")
    change_settings(cell, settings=cell.settings.model_dump() | {"model_name_or_path": "/home/me/tiny"})
    finished(tmp_path, "tiny", "klue-sts", seed=1, score=-50.0, weights="b" * 64, device="one")
    finished(tmp_path, "tiny", "klue-sts", seed=2, score=-50.0, weights="b" * 64, device="another")
    found = records(tmp_path)
    assert found.keys() == {"data/korquad/unknown/tiny", "data/klue-sts/unknown/tiny"}
    quad = found["data/korquad/unknown/tiny"]
    assert quad["model_info"]["id"] == "unknown/tiny"
    assert quad["model_info"]["additional_details"]["base_model_sha256"] == "b" * 64
    assert quad["source_metadata"]["evaluator_relationship"] == "other"
    assert "/home/me" not in json.dumps(quad)
    assert [result["metric_config"]["metric_name"] for result in quad["evaluation_results"]] == ["EM", "F1"]
    for result in quad["evaluation_results"]:
        assert (result["score_details"]["score"], result["metric_config"]["max_score"]) == (50.0, 100)
        assert "uncertainty" not in result["score_details"]
        assert result["source_data"]["source_type"] == "other" and "url" not in result["source_data"]
    pearson, f1 = found["data/klue-sts/unknown/tiny"]["evaluation_results"]
    assert (pearson["metric_config"]["min_score"], f1["metric_config"]["min_score"]) == (-1, 0)
    assert pearson["score_details"]["details"]["device"] == "one; another"


@pytest.mark.long
def test_a_report_replaces_earlier_records_and_ignores_them(tmp_path):
    finished(tmp_path, "tiny")
    cell = finished(tmp_path, "kobert")
    before = {path.name for path in tmp_path.rglob("eee/**/*.json")} if records(tmp_path) else set()
    shutil.rmtree(cell.folder)
    assert list(records(tmp_path)) == ["data/nsmc/unknown/tiny"]
    assert {path.name for path in tmp_path.rglob("eee/**/*.json")} < before
    assert "eee" not in (tmp_path / "benchmark" / "results.md").read_text()


@pytest.mark.parametrize("name", ["..", "a/b", ""])
def test_an_organization_must_name_a_folder(tmp_path, name):
    finished(tmp_path, "tiny")
    done = run_script("run_benchmark.py", "report", "--format", "eee", "--ckpt_dir", str(tmp_path), "--organization", name)
    assert done.returncode == 2 and "--organization" in done.stderr


@pytest.mark.parametrize("flag", [("--organization", "Lab"), ("--relationship", "first_party")])
def test_who_made_the_runs_is_for_records_only(tmp_path, flag):
    finished(tmp_path, "tiny")
    done = run_script("run_benchmark.py", "report", "--ckpt_dir", str(tmp_path), *flag)
    assert done.returncode == 2 and "--format eee" in done.stderr
    assert not (tmp_path / "benchmark" / "results.md").exists()


def newer_pythons():
    """Interpreters that the package supports, from PATH or pyenv."""
    names = [shutil.which(f"python3.{minor}") for minor in (12, 13, 14)]
    found = [*(Path(name) for name in names if name), *Path.home().glob(".pyenv/versions/3.1[234]*/bin/python")]
    return [path for path in found if subprocess.run([path, "-c", ""], capture_output=True).returncode == 0]


@pytest.mark.long
def test_the_package_validates_the_records(tmp_path):
    """Installed as requirements-eee.txt says."""
    if not (pythons := newer_pythons()):
        pytest.skip("needs Python 3.12 or newer")
    for seed in (1, 2):
        for task in ("nsmc", "naver-ner", "korsts", "korquad", "klue-sts"):
            finished(tmp_path, "tiny", task, seed=seed, score=90.0 + seed, weights="b" * 64)
    finished(tmp_path)
    assert len(records(tmp_path, "--organization", "Some Lab")) == 6
    subprocess.run([pythons[0], "-m", "venv", tmp_path / "venv"], check=True)
    install = [tmp_path / "venv" / "bin" / "python", "-m", "pip", "install", "-q", "-r", ROOT / "requirements-eee.txt"]
    done = subprocess.run(install, capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip(f"every-eval-ever cannot be installed: {done.stderr[-300:]}")
    command = [tmp_path / "venv" / "bin" / "every_eval_ever", "validate", "--format", "json", "data/*/*/*/*.json"]
    done = subprocess.run(command, cwd=tmp_path / "benchmark" / "eee", capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    checked = json.loads(done.stdout)
    assert len(checked) == 6
    assert [(file["file"], file["errors"], file["warnings"]) for file in checked if file["errors"] or file["warnings"]] == []
