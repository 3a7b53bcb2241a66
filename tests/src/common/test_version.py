"""The version in the commands and in the records of runs."""

import json

import pytest

from processor.definition import TASKS
from src.common.version import VERSION
from src.runs.status import find_run
from tests.commands import run_command
from tests.conftest import ROOT
from tests.src.run_folders import FILES, finished

COMMANDS = sorted(path.name for path in ROOT.glob("*.py"))
HEAVY = ["torch", "transformers", "huggingface_hub", "scipy", "sklearn", "seqeval", "accelerate"]
# Runs the command and prints the heavy modules that it has imported.
RUN = f"""
import runpy, sys
sys.argv = [{{0!r}}, "--version"]
try:
    runpy.run_path({{0!r}}, run_name="__main__")
finally:
    print(set({HEAVY}) & set(sys.modules))
"""


@pytest.mark.parametrize("script", COMMANDS)
def test_every_command_shows_the_version_and_imports_nothing_heavy(script):
    done = run_command("-c", RUN.format(script))
    assert (done.returncode, done.stdout.splitlines()) == (0, [f"{script} {VERSION}", "set()"]), done.stderr


@pytest.mark.parametrize("version", ["0.9", "99.0", None])
def test_runs_of_other_versions_are_read_as_before(settings, version):
    run = finished(settings)
    path = run.folder / "settings.json"
    record = json.loads(path.read_text()) | ({} if version is None else {"version": version})
    path.write_text(json.dumps(record))
    assert find_run(settings(), TASKS["nsmc"], FILES).state == "trained"
