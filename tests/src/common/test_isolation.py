"""Variables that libraries read by themselves, against the source of the accelerate that is installed."""

import ast
import os
import re
from importlib.util import find_spec
from pathlib import Path

import pytest

from src.common.cli import run_command
from src.common.isolation import changes_results, isolated
from src.common.launcher import LAUNCHER, LOCAL

# What accelerate reads, and what this project leaves alone.
LEFT = {
    "ACCELERATE_USE_CPU": "read by this project, too",
    "ACCELERATE_LOG_LEVEL": "the log",
    **dict.fromkeys((*LAUNCHER, *LOCAL), "hidden from accelerate by src.common.launcher.hidden"),
    "OMP_NUM_THREADS": "the number of threads",
    "PYTORCH_ENABLE_MPS_FALLBACK": "set by src.common.cli.prepare_torch",
    **dict.fromkeys(("NCCL_IB_DISABLE", "NCCL_P2P_DISABLE"), "how GPUs are connected"),
    **dict.fromkeys(("MLFLOW_EXPERIMENT_NAME", "MLFLOW_NESTED_RUN", "MLFLOW_RUN_ID", "MLFLOW_TAGS"), "a tracker"),
    **dict.fromkeys(("CLEARML_PROJECT", "CLEARML_TASK"), "a tracker"),
}
# Parts that a run does not use: commands that start others, and the tests of accelerate.
UNUSED = ("commands", "test_utils", "launchers.py", "utils/launch.py")
READERS = re.compile(r"(environ\.(get|pop|setdefault)|getenv|\w+_from_env)$")
A_PREFIX = re.compile(r"(env_)?prefix")


def texts_in(node):
    return [part.value for part in ast.walk(node) if isinstance(part, ast.Constant) and isinstance(part.value, str)]


def variables_in(source):
    """The names of environment variables that a module reads, and the prefixes from which it builds names."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        name = None
        if isinstance(node, ast.Call) and READERS.search(ast.unparse(node.func)) and node.args:
            name = node.args[0]
        elif isinstance(node, ast.Subscript) and ast.unparse(node.value).endswith("environ"):
            name = node.slice
        elif isinstance(node, ast.Compare) and ast.unparse(node.comparators[0]).endswith("environ"):
            name = node.left
        elif isinstance(node, ast.Assign) and A_PREFIX.fullmatch(ast.unparse(node.targets[0])):
            name = node.value
        # A name that begins with a prefix is found by this prefix.
        if name is not None and not (isinstance(name, ast.BinOp) and A_PREFIX.fullmatch(ast.unparse(name.left))):
            found |= {text for text in texts_in(name) if re.fullmatch("[A-Z][A-Z0-9_]+", text)}
    return found


def test_finds_names_in_all_forms():
    source = """
prefix = "SOME_PREFIX_"
a = os.environ.get("BY_GET", "0") + os.environ.get(prefix + "PART") + os.getenv("BY_GETENV")
b = parse_flag_from_env("BY_FLAG") or get_int_from_env(["ONE_OF", "TWO"], 1)
os.environ["BY_KEY"], "BY_IN" in os.environ
"""
    assert variables_in(source) == {"SOME_PREFIX_", "BY_GET", "BY_GETENV", "BY_FLAG", "ONE_OF", "TWO", "BY_KEY", "BY_IN"}


def test_every_variable_that_accelerate_reads_is_hidden_or_known_to_be_harmless():
    root = Path(find_spec("accelerate").origin).parent
    found = set()
    for path in root.rglob("*.py"):
        if not str(path.relative_to(root)).startswith(UNUSED):
            found |= variables_in(path.read_text(encoding="utf-8"))
    assert {"ACCELERATE_DYNAMO_", "FSDP_", "MEGATRON_LM_", "ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "PMI_SIZE"} <= found
    assert {name for name in found if not changes_results(name)} == set(LEFT) & found
    assert set(LEFT) - found <= {"ACCELERATE_USE_CPU"}  # nothing is left alone for no reason


def test_variables_are_hidden_and_come_back(monkeypatch):
    given = {"ACCELERATE_USE_DEEPSPEED": "true", "ACCELERATE_DYNAMO_MODE": "default", "ACCELERATE_USE_CPU": "true", "FSDP_X": ""}
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    before = dict(os.environ)
    with isolated() as hidden:
        assert hidden == ["ACCELERATE_USE_DEEPSPEED"]
        assert {name for name in given if name in os.environ} == {"ACCELERATE_USE_CPU"}
    assert dict(os.environ) == before


def test_a_command_says_once_what_it_hides(monkeypatch, capsys):
    monkeypatch.setenv("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "4")
    monkeypatch.setenv("TORCH_ALLOW_TF32_CUBLAS_OVERRIDE", "1")
    seen = []
    run_command(lambda: seen.extend(os.environ), timestamps=False)
    assert not {"ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE"} & set(seen)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith(": ACCELERATE_GRADIENT_ACCUMULATION_STEPS, TORCH_ALLOW_TF32_CUBLAS_OVERRIDE")
    assert os.environ["ACCELERATE_GRADIENT_ACCUMULATION_STEPS"] == "4"


@pytest.mark.parametrize("variables", [{"ACCELERATE_GRADIENT_ACCUMULATION_STEPS": "4", "PMI_SIZE": "2"}, {"WORLD_SIZE": ""}])
def test_a_run_computes_the_same_whatever_the_environment(tiny, tmp_path, monkeypatch, variables):
    """An empty variable of a launcher is none."""
    short = ["--max_steps", "4", "--no_cuda"]
    assert tiny("--output_dir", "plain", *short).returncode == 0
    for name, value in {"RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1", "WORLD_SIZE": ""}.items():
        monkeypatch.setenv(name, value)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    done = tiny("--output_dir", "other", *short)
    assert done.returncode == 0, done.stderr
    plain, other = ((tmp_path / "ckpt" / name / "checkpoint-4" / "model.safetensors").read_bytes() for name in ("plain", "other"))
    assert plain == other


@pytest.mark.parametrize(("rank", "count"), [("0", "two"), ("2", "2"), ("-1", "2"), ("", "2")])
def test_a_launcher_that_makes_no_sense(tiny, monkeypatch, rank, count):
    for name, value in {"RANK": rank, "WORLD_SIZE": count, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}.items():
        monkeypatch.setenv(name, value)
    done = tiny("--print_settings")
    assert done.returncode == (2 if rank else 0), done.stderr
    assert (f"RANK={rank} WORLD_SIZE={count}" in done.stderr) == bool(rank)
    assert "Traceback" not in done.stderr
