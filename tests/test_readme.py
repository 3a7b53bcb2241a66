"""What the README tells people to type works."""

import json
import re
import subprocess
import sys

import pytest

from tests.conftest import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```bash\n(.*?)```", README, re.DOTALL)
LINES = [line.split("#")[0].strip() for block in BLOCKS for line in block.splitlines()]
GRID = [line for line in LINES if line.startswith("python3 run_benchmark.py")]
COMMANDS = [line for line in LINES if line.startswith("python3 run_") and line not in GRID]
PREDICTIONS = [line for line in LINES if "predict.py" in line]


def test_every_line_is_one_that_is_checked_here():
    assert (len(COMMANDS), len(GRID), len(PREDICTIONS)) == (19, 5, 2)
    assert set(LINES) - set(COMMANDS) - set(GRID) - set(PREDICTIONS) == {"make demo", "make test", "source .venv/bin/activate"}


@pytest.mark.parametrize("line", COMMANDS)
def test_commands(command, tmp_path, line):
    """Those on the sample run in full; of the others, which need the hub and the corpora, the settings are checked."""
    _, script, *arguments = line.split()
    if "data/sample" in arguments:
        arguments += ["--ckpt_dir", str(tmp_path / "ckpt"), "--feature_cache_dir", str(tmp_path / "cache")]
    else:
        arguments.append("--print_settings")
    done = command(script, *arguments)
    assert done.returncode == 0, done.stderr


def test_the_grid(command, tmp_path):
    """The grid on the sample runs, in less updates; of the others it is shown what would run, and the tiny model is compared."""
    places = ("--ckpt_dir", str(tmp_path / "ckpt"))
    for line in GRID:
        _, script, *arguments = line.split()
        if "data/sample" in arguments:
            arguments += ["--max_steps", "10", "--feature_cache_dir", str(tmp_path / "cache")]
        elif "run" in arguments:
            arguments = [word if word != "0,1,2,3" else "cpu" for word in arguments if word != "--dry_run"] + ["--dry_run"]
        elif "compare" in arguments:
            arguments = [{"nsmc,korquad": "nsmc"}.get(word, "tiny" if "koelectra" in word else word) for word in arguments]
        done = command(script, *arguments, *places)
        assert done.returncode == 0, done.stderr
        if "--dry_run" in arguments:
            assert done.stdout.count("python3 run_") == 2 * 8 * 5
    assert "| nsmc | acc |" in done.stdout


def test_predictions(tiny, tmp_path):
    assert tiny("--output_dir", "demo").returncode == 0
    (tmp_path / "reviews.txt").write_text("정말 최고다\n너무 지루하다\n")
    written = []
    for line in PREDICTIONS:
        line = line.replace("python3 predict.py", f"{sys.executable} {ROOT / 'predict.py'}")
        done = subprocess.run(line, shell=True, cwd=tmp_path, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        written.append(done.stdout)
    assert '"name": "positive"' in written[0]
    results = [json.loads(line)["name"] for line in (tmp_path / "labels.jsonl").read_text().splitlines()]
    assert results == ["positive", "negative"]


def test_make_demo():
    if not (ROOT / ".venv" / ".run").exists():
        pytest.skip("needs the virtual environment that `make test` makes")
    done = subprocess.run(["make", "demo"], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert re.search(r"selected +step \d+ +test 0\.(8[5-9]|9)|selected +step \d+ +test 1\.", done.stdout)
    assert "files: ckpt/demo/" in done.stdout


@pytest.mark.parametrize("name", ["README.md", "data/README.md"])
def test_files_that_are_linked_exist(name):
    text = (ROOT / name).read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        if not target.startswith("http"):
            assert (ROOT / name).parent.joinpath(target).exists(), target


def test_the_tables_name_every_task_and_every_config_file():
    for path in [*(ROOT / "config").glob("*.json"), *(ROOT / "config" / "tasks").glob("*.json")]:
        assert f"`{path.name}`" in README or f"`{path.stem}`" in README or path.name == "tiny.json", path.name
