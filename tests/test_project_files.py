"""The files that people expect beside the code agree with it: version, commands, names of files, forms."""

import re
import shlex
import shutil

import pytest
import yaml

from src.common.version import VERSION
from src.metrics.metrics import METRICS
from src.model.heads import HEADS
from src.runs.card import USES
from tests.commands import run_command, run_script
from tests.conftest import ROOT

CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```bash\n(.*?)```", CONTRIBUTING, re.DOTALL)
LINES = [line.split("#")[0].strip() for block in BLOCKS for line in block.replace("\\\n", " ").splitlines()]
COMMANDS = [line for line in LINES if re.match(r"python3 (?!-m pytest)", line)]
TESTS = [line.removeprefix("python3 -m pytest -x ").strip() for line in LINES if "pytest" in line]
MAKE = [line.removeprefix("make ") for line in LINES if line.startswith("make ")]
FORMS = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))


def load(name):
    return yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))


def pins(text):
    """Return the `name==version` of each package in a requirements or lock file."""
    return {pin.lower().replace("_", "-") for pin in re.findall(r"^[\w.-]+==[\w.!+-]+", text, re.MULTILINE)}


def test_the_version_is_the_same_everywhere():
    assert re.fullmatch(r"\d+\.\d+\.\d+", VERSION)
    assert load("CITATION.cff")["version"] == VERSION
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    headings = re.findall(r"^## (\S+)", changes, re.MULTILINE)
    assert next(heading for heading in headings if heading != "Unreleased") == VERSION and "Unreleased" not in headings[1:]


def test_the_citation_has_what_the_format_requires():
    citation = load("CITATION.cff")
    assert {"cff-version", "message", "title", "authors"} <= citation.keys()
    for software in (citation, *citation["references"]):
        assert all(author.keys() & {"name", "family-names"} for author in software["authors"])
        assert software["license"] == "Apache-2.0"
    assert "Apache License" in (ROOT / "LICENSE").read_text()


def test_notice_and_citation_credit_the_same_project():
    (reference,) = load("CITATION.cff")["references"]
    notice = (ROOT / "NOTICE").read_text(encoding="utf-8")
    assert reference["title"] in notice and reference["url"] in notice and "Apache License, Version 2.0" in notice


def test_ci_runs_what_a_checkout_runs():
    jobs = load(".github/workflows/ci.yml")["jobs"].values()
    assert [step["run"] for job in jobs for step in job["steps"] if "run" in step] == [".ci/run"]
    assert (ROOT / ".ci" / "run").stat().st_mode & 0o111


def test_the_lock_has_every_required_version_but_torch():
    """With the hashes of files in the public index, which a local build of torch is not; and nothing about any machine."""
    text = (ROOT / "requirements.lock").read_text()
    locked = pins(text)
    required = pins((ROOT / "requirements.txt").read_text()) | pins((ROOT / "requirements-report.txt").read_text())
    assert required - locked == {"torch==2.13.0"}
    assert text.count("==") == len(locked) <= text.count("--hash=sha256:")
    assert all(block.count("--hash=sha256:") for block in text.split("==")[1:])
    assert not [line for line in text.splitlines() if not line.startswith("#") and ("/" in line or "://" in line)]


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.stem)
def test_forms_for_issues(path):
    form = yaml.safe_load(path.read_text(encoding="utf-8"))
    if path.stem == "config":
        return
    assert {"name", "description", "body"} <= form.keys()
    ids = [field["id"] for field in form["body"]]
    assert len(set(ids)) == len(ids) and all(field["attributes"]["label"] for field in form["body"])


def test_a_problem_comes_with_settings_json():
    fields = {field["id"]: field for field in load(".github/ISSUE_TEMPLATE/problem.yml")["body"]}
    assert "settings.json" in fields["settings"]["attributes"]["label"] and fields["settings"]["validations"]["required"]


def test_what_contributing_names_exists():
    folders = r"(?:src|tests|processor|config|data|\.ci)/"
    for name in re.findall(rf"`({folders}[\w./-]+)`", CONTRIBUTING):
        assert (ROOT / name).exists(), name
    assert TESTS and all((ROOT / name).exists() for name in TESTS if name)
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert MAKE and set(MAKE) <= set(targets)
    assert set(LINES) - {*COMMANDS, ""} == {
        *(f"make {target}" for target in MAKE),
        *(f"python3 -m pytest -x {test}" for test in TESTS),
        "source .venv/bin/activate",
    }
    assert METRICS and HEADS.keys() == USES.keys()  # the tables that it names, each with a row per kind


def test_the_commands_of_contributing_work(tmp_path):
    """One after the other, with a config folder of their own, which they change."""
    shutil.copytree(ROOT / "config", tmp_path / "config")
    config = ["--config_dir", str(tmp_path / "config")]
    places = ["--ckpt_dir", str(tmp_path / "ckpt"), "--feature_cache_dir", str(tmp_path / "cache")]
    assert len(COMMANDS) >= 6
    for line in COMMANDS:
        command, _, output = line.partition(" > ")
        script, *arguments = shlex.split(command)[1:]
        done = run_command(script, *arguments, *config) if script == "-m" else run_script(script, *arguments, *config, *places)
        assert done.returncode == 0, (line, done.stderr)
        if output:
            (tmp_path / output).write_text(done.stdout)
    runs = sorted(path.parent.name for path in tmp_path.glob("ckpt/*/eval_results.json"))
    assert runs == ["tiny-electra-nsmc-ckpt", "tiny-my-reviews-ckpt", "tiny-my-reviews-ckpt.1"]  # two metrics
