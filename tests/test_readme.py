"""The commands, links and tables of the README work and are complete."""

import csv
import json
import re
import shutil
import subprocess
import sys

import pytest

from processor.definition import TASKS
from tests.commands import fork_cells, run_forked, run_script
from tests.conftest import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```bash\n(.*?)```", README, re.DOTALL)
LINES = [line.split("#")[0].strip() for block in BLOCKS for line in block.replace("\\\n", " ").splitlines()]
OWN = [line for line in LINES if "my-reviews" in line]
CLUSTER = [line for line in LINES if line.startswith("ray ") or "--ray" in line]  # tests.test_ray has its own cluster
TUNING = [line for line in LINES if re.search(r"run_benchmark\.py (tune|run --tuned) ", line)]
GRID = [line for line in LINES if "run_benchmark.py" in line and line not in [*OWN, *CLUSTER, *TUNING]]
RUNS = [line for line in LINES if re.match(r"python3 run_(?!benchmark)", line) and line not in OWN]
LAUNCHED = [line for line in LINES if re.match("(torchrun|accelerate launch) ", line)]
SHARES = [line for line in LINES if "share.py" in line]
PREDICTIONS = [line for line in LINES if "predict.py" in line and line not in OWN]


def test_every_command_is_tested_here():
    assert RUNS and GRID and TUNING and LAUNCHED and PREDICTIONS and OWN
    tested = {*RUNS, *GRID, *TUNING, *LAUNCHED, *PREDICTIONS, *OWN, *CLUSTER, *SHARES}
    assert set(LINES) - tested == {"make demo", "make test", "source .venv/bin/activate"}


def on_sample(line):
    return "data/sample" in line


def run(line, *flags):
    _, script, *arguments = line.split()
    if "run" in arguments and "--dry_run" not in flags:  # starts processes
        return run_forked(script, *arguments, *flags, before=fork_cells)
    return run_script(script, *arguments, *flags)


@pytest.mark.parametrize(
    "flags", [["--max_steps", "2"], pytest.param([], marks=pytest.mark.long)], ids=["two updates", "in full"]
)
def test_commands_on_the_sample(tmp_path, flags):
    places = ["--ckpt_dir", str(tmp_path / "ckpt"), "--feature_cache_dir", str(tmp_path / "cache")]
    results = {line: run(line, *places, *flags) for line in RUNS if on_sample(line)}
    assert {line: done.stderr for line, done in results.items() if done.returncode != 0} == {}
    assert len(list(tmp_path.glob("ckpt/*/eval_results.json"))) == len(results) >= 3


@pytest.mark.parametrize("line", [line for line in RUNS if not on_sample(line)] + LAUNCHED)
def test_settings_of_commands_that_need_the_hub(line):
    done = run(
        re.sub(".*?(?=run_)", "python3 ", line, count=1), "--print_settings"
    )  # without torchrun, see tests/test_torchrun.py
    assert done.returncode == 0, done.stderr


@pytest.mark.long
def test_predictions(trained, tmp_path):
    """The commands for predict.py, with a run on the sample's NSMC in place of the demo's."""
    checkpoint = trained("nsmc")
    (tmp_path / "reviews.txt").write_text("정말 최고다\n너무 지루하다\n")
    written = []
    for line in PREDICTIONS:
        line = line.replace("python3 predict.py", f"{sys.executable} {ROOT / 'predict.py'}")
        line = line.replace("ckpt/demo/checkpoint-250", str(checkpoint))
        done = subprocess.run(line, shell=True, cwd=tmp_path, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        written.append(done.stdout)
    assert '"name": "positive"' in written[0]
    results = [json.loads(line)["name"] for line in (tmp_path / "labels.jsonl").read_text().splitlines()]
    assert results == ["positive", "negative"]


def test_sharing(trained):
    """The commands for share.py with a run on the sample's NSMC in place of the demo's; nothing is uploaded."""
    checkpoint = trained("nsmc")
    assert len(SHARES) == 2
    for line in SHARES:
        flags = [] if "--dry_run" in line else ["--dry_run"]
        done = run(line.replace("ckpt/demo/checkpoint-250", str(checkpoint)), *flags)
        assert done.returncode == 0 and "README.md" in done.stdout, done.stderr


def test_own_data(tmp_path):
    """The commands for one's own data, with the tiny model."""
    own = [line.replace("koelectra-small-v3", "tiny") for line in OWN]
    for folder in ("data/sample", "config"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    shown = re.search(r"```\n(review,stars\n.*?)```", README, re.DOTALL)[1]
    assert (ROOT / "data" / "sample" / "reviews.csv").read_text() == shown
    places = ["--ckpt_dir", str(tmp_path / "ckpt"), "--feature_cache_dir", str(tmp_path / "cache")]
    trained, predicted, *light = own
    assert run_script(*trained.split()[1:], *places).returncode == 0
    predicted = predicted.replace(" ckpt/", f" {tmp_path}/ckpt/").replace("labels.csv", f"{tmp_path}/labels.csv")
    assert run_script(*predicted.split()[1:]).returncode == 0
    for line in light:  # in a copy of the project, whose config/ they change
        line = re.sub(r"python3 (\S+)", rf"{sys.executable} {ROOT}/\1", line)
        done = subprocess.run(line, shell=True, cwd=tmp_path, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
    assert done.stdout.count("run_seq_cls.py --task my-reviews") == 3
    with open(tmp_path / "labels.csv", newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["review", "stars", "label", "prob_1", "prob_5"] and len(rows) == 11


def test_benchmark_table(tmp_path):
    """On the sample with one seed and fewer updates, otherwise as dry runs; `compare` compares the tiny model with itself."""
    for line in GRID:
        flags = ["--ckpt_dir", str(tmp_path / "ckpt")]
        if on_sample(line):
            line = line.replace("--seeds 1,2", "--seeds 1")
            flags += ["--max_steps", "10", "--feature_cache_dir", str(tmp_path / "cache")]
        elif " run " in line and "--dry_run" not in line:
            line = re.sub(r"--devices \S+", "--devices cpu", line) + " --dry_run"
        elif " compare " in line:
            line = re.sub(r"koelectra-\S+", "tiny", line).replace("nsmc,korquad", "nsmc")
        done = run(line, *flags)
        assert done.returncode == 0, done.stderr
        if "--dry_run" in line:
            models, tasks, seeds = re.search(r"--models (\S+) --tasks (\S+) --seeds (\S+)", line).groups()
            assert tasks == "all"
            published = [task for task in TASKS.values() if task.suite == "koelectra"]
            expected = len(models.split(",")) * len(published) * len(seeds.split(","))
            assert done.stdout.count("python3 run_") == expected
    assert "| nsmc | acc |" in done.stdout


def test_tuning(tmp_path):
    """Dry runs of the searches, and of runs with their results."""
    pytest.importorskip("optuna", reason="needs the package of requirements-tune.txt")
    shutil.copytree(ROOT / "config", tmp_path / "config")
    search, runs, space = TUNING
    flags = ["--ckpt_dir", str(tmp_path / "ckpt"), "--config_dir", str(tmp_path / "config")]
    planned = run(search, *flags, "--dry_run")
    assert planned.returncode == 0, planned.stderr
    assert planned.stdout.count("30 trials") == 2 and "--dev_ratio 0.1" in planned.stdout
    for task in ("question-pair", "hate-speech"):
        (tmp_path / "config" / "tuning" / f"koelectra-small-v3.{task}.json").write_text('{"search": {}}')
    planned = run(runs, *flags, "--dry_run")
    assert planned.returncode == 0, planned.stderr
    assert planned.stdout.count("--tuned_file") == 10
    assert json.loads(run(space, *flags).stdout).keys() >= {"learning_rate", "num_train_epochs"}


@pytest.mark.long
def test_make_demo():
    if not (ROOT / ".venv" / ".run").exists():
        pytest.skip("needs the virtual environment that `make test` makes")
    done = subprocess.run(["make", "demo"], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert re.search(r"selected +step 250 +test (0\.(8[5-9]|9)|1\.)", done.stdout)
    assert "ckpt/demo/" in done.stdout


@pytest.mark.parametrize("name", ["README.md", "data/README.md"])
def test_links(name):
    text = (ROOT / name).read_text(encoding="utf-8")
    headings = {re.sub(r"[^\w -]", "", title).replace(" ", "-").lower() for title in re.findall(r"^#+ (.*)$", text, re.MULTILINE)}
    for target in re.findall(r"\]\(([^)]+)\)", text):
        if target.startswith("#"):
            assert target[1:] in headings
        elif not target.startswith("http"):
            assert (ROOT / name).parent.joinpath(target).exists(), target


def test_the_figure_is_embedded_and_small():
    figure = ROOT / "docs" / "results.png"
    assert re.search(r"!\[[^]]{20,}\]\(docs/results\.png\)", README.split("## Installation")[0])
    assert figure.read_bytes().startswith(b"\x89PNG") and figure.stat().st_size < 200_000


def test_names_every_model_of_config():
    for path in (ROOT / "config").glob("*.json"):
        assert f"`{path.name}`" in README or path.name == "tiny.json", path.name
