"""What tests share: the sample, ways to run commands, settings."""

import os
import pickle
import shutil

import pytest

from processor.definition import TASKS
from src.common.cli import prepare_torch
from tests.commands import ROOT, run_command, run_script, start_server

SAMPLE = ROOT / "data" / "sample"
# The tasks that come with the project. A task that a user adds to TASKS has no sample and no published files.
SAMPLED_TASKS = [task for task in TASKS if (SAMPLE / task).is_dir()]
SHARED = ROOT.parent / "shared"  # real data and reference outputs, next to the checkout if they are available

# Two test processes on two cores: more threads would slow each other down.
os.environ.setdefault("OMP_NUM_THREADS", "1")
prepare_torch()
os.environ["HF_HUB_OFFLINE"] = "1"
os.fsync = lambda descriptor: None  # no test pulls the plug, and waiting for the disk takes a tenth of the time


def pytest_addoption(parser):
    parser.addoption("--limit", type=float, help="fail a test that is not marked long and takes more seconds")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """Fail a test that is too slow to run before every commit."""
    report = yield
    limit = item.config.getoption("limit")
    if limit and call.duration > limit and call.when == "call" and report.passed and "long" not in item.keywords:
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} took {call.duration:.1f} s: make it faster, or mark it long"
    return report


@pytest.fixture(autouse=True)
def _server(request):
    """Start the server of forked processes before the first test that may need it: its start is not the test's own time."""
    if any(hasattr(request.module, name) for name in ("Forked", "run_forked", "Runs")):
        start_server()


@pytest.fixture
def shared():
    """The folder of real data; tests that need it are skipped if it is missing."""
    if not SHARED.is_dir():
        pytest.skip(f"needs the real data in {SHARED.name}/ next to the checkout")
    return SHARED


@pytest.fixture
def command():
    """command("run_seq_cls.py", "--task", ...) runs it in a new Python, as a user does; see tests.commands.run_command."""
    return run_command


@pytest.fixture
def tiny(tmp_path):
    """tiny("--max_steps", "5") runs nsmc on the sample with the tiny model; the run is in tmp_path/ckpt/tiny-nsmc-ckpt.

    start: run_script, or another function or class of tests.commands; `options` are its own.
    """

    def run(*arguments, task="nsmc", start=run_script, **options):
        places = ["--ckpt_dir", str(tmp_path / "ckpt"), "--feature_cache_dir", str(tmp_path / "cache")]
        common = ["--task", task, "--config_file", "tiny.json", "--data_dir", "data/sample"]
        return start(TASKS[task].script, *common, *places, *arguments, **options)

    return run


@pytest.fixture(scope="session")
def _trained_runs(tmp_path_factory):
    """The folder of the runs of `trained`."""
    return tmp_path_factory.mktemp("trained")


@pytest.fixture
def trained(_trained_runs, tmp_path):
    """trained("nsmc") returns the checkpoint of a tiny model that has learned a task of the sample, in a copy of its run."""

    def copy(task):
        run = _trained_runs / task
        if not run.exists():
            places = ["--ckpt_dir", str(_trained_runs), "--output_dir", task, "--feature_cache_dir", str(_trained_runs / "cache")]
            common = ["--task", task, "--config_file", "tiny.json", "--data_dir", "data/sample", "--max_steps", "100"]
            done = run_script(TASKS[task].script, *common, *places)
            assert done.returncode == 0, done.stderr
        return shutil.copytree(run, tmp_path / "trained" / task) / "checkpoint-100"

    return copy


@pytest.fixture
def settings(tmp_path):
    """settings(max_steps=5) returns the settings of nsmc on the sample with the tiny model, with these changes."""
    from src.settings.layers import load_settings

    def make(task="nsmc", **changes):
        given = {
            "ckpt_dir": tmp_path / "ckpt",
            "feature_cache_dir": tmp_path / "cache",
            "data_dir": SAMPLE,
            "config_dir": ROOT / "config",
        }
        given |= {"model_name_or_path": SAMPLE / "tiny-electra", "output_dir": "run", "from_scratch": True} | changes
        flags = [
            word
            for name, value in given.items()
            for word in (f"--{name}", str(value).lower() if value in (True, False) else str(value))
        ]
        return load_settings(["--task", task, "--config_file", "tiny.json", *flags], script="test", tasks=TASKS)

    return make


class Poison:
    """An object that creates a folder when it is unpickled."""

    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


@pytest.fixture
def poison(tmp_path):
    """Bytes that create a folder when they are unpickled; the test fails if it exists in the end."""
    owned = tmp_path / "owned"
    yield pickle.dumps(Poison(owned), protocol=2)  # torch warns about other protocols
    assert not owned.exists()
