"""Trials without training: a script that leaves the files of a run, with scores that follow from the learning rate."""

import json
from dataclasses import replace

from processor.definition import TASKS
from src.grid.cells import make_trial_cells
from src.grid.tune.search import Search
from src.grid.tune.space import read_space
from tests.conftest import ROOT
from tests.src.grid.helpers import request_for

# Ten evaluations; the score rises to 1 for a learning rate of 1e-3, by 0.2 less for each power of ten away from it. It resumes
# from resume/scores.json, and ends at the next step after SIGTERM. A rate above 0.5 fails.
SCRIPT = """
import json, math, os, signal, sys, time
from pathlib import Path
flags = dict(zip(sys.argv[1::2], sys.argv[2::2]))
rate, folder = float(flags["--learning_rate"]), Path(flags["--ckpt_dir"]) / flags["--output_dir"]
if rate > 0.5:
    sys.exit("error: the loss is not finite")
stopped = []
signal.signal(signal.SIGTERM, lambda *arguments: stopped.append(1))
(folder / "resume").mkdir(parents=True, exist_ok=True)
def write(path, content):
    temporary = folder / f".{os.getpid()}"
    temporary.write_text(json.dumps(content))
    temporary.rename(folder / path)
write("settings.json", {"updates": 10})
saved = folder / "resume" / "scores.json"
scores = json.loads(saved.read_text())["scores"] if saved.exists() else {}
with open(folder / "starts", "a") as starts:
    starts.write(f"{len(scores)} ")
for step in range(len(scores) + 1, 11):
    scores[str(step)] = {"dev": {"acc": (1 - abs(math.log10(rate) + 3) / 5) * (0.5 + step / 20)}}
    write("resume/scores.json", {"scores": scores})
    (folder / f"checkpoint-{step}").mkdir(exist_ok=True)
    time.sleep(float(os.environ.get("FAKE_STEP", "0")))
    if stopped:
        print("interrupted by SIGTERM; saved")
        sys.exit(143)
write("cost.json", {})
write("eval_results.json", {"scores": scores, "selected": {"step": 10, "dev": scores["10"]["dev"]}})
"""
RATES = {"learning_rate": {"low": 1e-5, "high": 1e-1, "log": True}}


def open_search(tmp_path, space=RATES, trials=8, seed=1, task="question-pair", sha256="1" * 64, rest=()):
    """Open a search of the tiny model whose trials are SCRIPT. Its config folder is tmp_path/config."""
    (tmp_path / "fake.py").write_text(SCRIPT)
    (tmp_path / "space.json").write_text(json.dumps(space))
    if not (tmp_path / "config").exists():
        (tmp_path / "config").mkdir()
        for name in ("tiny.json", "tasks"):
            (tmp_path / "config" / name).symlink_to(ROOT / "config" / name)
    places = ["--ckpt_dir", str(tmp_path / "ckpt"), "--config_dir", str(tmp_path / "config")]
    (cell,) = make_trial_cells(request_for("tiny", task, str(seed), [*places, *rest]), None)
    base = replace(cell, script=str(tmp_path / "fake.py"))
    return Search(base, TASKS[task], read_space(tmp_path / "space.json"), {"train": sha256, "dev": sha256}, trials)
