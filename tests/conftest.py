"""What the tests share: the sample, a way to run a command as a user does, settings made in the test."""

import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from processor import TASKS

ROOT = Path(__file__).resolve().parent.parent
SAMPLE = ROOT / "data" / "sample"
SHARED = ROOT.parent / "shared"  # real data and reference outputs, beside the checkout where there are any

# Two test processes on two cores: more threads would only get in each other's way.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["HF_HUB_OFFLINE"] = "1"


@pytest.fixture
def shared():
    """The folder of real data; a test that needs it is skipped where it is missing."""
    if not SHARED.is_dir():
        pytest.skip(f"needs the real data in {SHARED.name}/ beside the checkout")
    return SHARED


@pytest.fixture
def command(tmp_path):
    """command("run_seq_cls.py", "--task", ...) runs it in the checkout as a user would; wait=False only starts it.

    env: what differs in its environment.
    """

    def run(script, *arguments, wait=True, env=None, timeout=300):
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "env": os.environ | (env or {})}
        process = subprocess.Popen([sys.executable, script, *arguments], cwd=ROOT, **pipes)
        if not wait:
            return process
        output, errors = process.communicate(timeout=timeout)
        return subprocess.CompletedProcess(process.args, process.returncode, output, errors)

    return run


@pytest.fixture
def tiny(command, tmp_path):
    """tiny("--max_steps", "5") runs nsmc on the sample with the tiny model; the run lands in tmp_path/ckpt/tiny-nsmc-ckpt."""

    def run(*arguments, task="nsmc", **options):
        places = ["--ckpt_dir", str(tmp_path / "ckpt"), "--feature_cache_dir", str(tmp_path / "cache")]
        common = ["--task", task, "--config_file", "tiny.json", "--data_dir", "data/sample"]
        return command(TASKS[task].script, *common, *places, *arguments, **options)

    return run


@pytest.fixture
def settings(tmp_path):
    """settings(max_steps=5) are those of nsmc on the sample with the tiny model, changed as given."""
    from src.config import load_settings

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
        return load_settings(["--task", task, "--config_file", "tiny.json", *flags], script="test", tasks=[task])

    return make


class Poison:
    """Unpickled, it makes a folder."""

    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


@pytest.fixture
def poison(tmp_path):
    """Bytes that make a folder where they are unpickled; whether they have been is looked at in the end."""
    owned = tmp_path / "owned"
    yield pickle.dumps(Poison(owned), protocol=2)  # of which torch says nothing before it refuses
    assert not owned.exists()
