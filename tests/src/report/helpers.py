"""Write the folders of finished runs, with numbers that can be checked by hand, without running anything."""

import json
from types import SimpleNamespace

from processor.definition import TASKS
from src.metrics.metrics import METRICS
from src.report.published import Published
from src.report.read_runs import read_grid
from tests.conftest import ROOT
from tests.src.grid.helpers import make_cells

PUBLISHED = Published.read(ROOT / "src" / "report" / "published_scores.json")
REVISION = "0123456789abcdef0123456789abcdef01234567"


def cell_of(tmp_path, model="koelectra-base-v3", task="nsmc", seed=1, *rest):
    return make_cells(model, task, str(seed), ["--ckpt_dir", str(tmp_path), *rest], TASKS)[0]


def records_in(tmp_path):
    return read_grid(tmp_path, TASKS)[0]


def finished(tmp_path, model="koelectra-base-v3", task="nsmc", seed=1, score=90.0, best=None, rest=(), cell=None, **changes):
    """Write the folder of a finished run and return its cell.

    score, best: in percent, of `selected` and `best_on_test` (by default the same). changes: status, sha256, seconds, memory,
    tokens_per_s, precision, torch, processes, by, device, weights, search. cell: in place of the one of model, task and seed.
    """
    about = {"status": "published", "sha256": "a" * 64, "seconds": 60.0, "memory": 2e9, "tokens_per_s": 1000.0}
    about |= {"precision": "no", "torch": "2.13.0", "by": "last", "device": "a GPU", "weights": None} | changes
    about = SimpleNamespace(**about)
    cell = cell or cell_of(tmp_path, model, task, seed, *rest)
    values = cell.settings.model_dump()
    facts = {"status": about.status, "sha256": about.sha256, "rows": 4}
    record = {"settings": values, "layers": {name: cell.settings.layer_of(name) for name in values}, "seed": seed}
    record |= {
        "data": {split: facts | {"file": "x"} for split in ("train", "test")},
        "weights": about.weights,
        "device": about.device,
        "definition": TASKS[task].model_dump(mode="json", exclude_defaults=True),
    }
    record |= {
        "versions": {"torch": about.torch},
        "git_revision": REVISION,
        "version": "1.0.0",
        "mixed_precision": about.precision,
    }
    record |= {"processes": about.processes} if "processes" in changes else {}  # older records have none
    record |= {"search": about.search} if "search" in changes else {}  # of tuned runs
    scale = METRICS[TASKS[task].metric].scale
    names = {*TASKS[task].scores, *METRICS[TASKS[task].metric].weighted}
    scores = [dict.fromkeys(sorted(names), value * scale / 100) for value in (score, best or score)]
    results = {"task": task, "data": {"train": facts, "test": facts}, "headline": TASKS[task].headline}
    results["scores"] = {"10": {"test": scores[1]}, "20": {"test": scores[0]}}
    results["selected"] = {"step": 20, "checkpoint": "checkpoint-20", "by": about.by, "test": scores[0]}
    results["best_on_test"] = {"step": 10, "checkpoint": "checkpoint-10", "test": scores[1]}
    cost = {"training_seconds": about.seconds, "peak_memory_bytes": about.memory, "tokens_per_s": about.tokens_per_s}
    cost |= {"evaluation_seconds": 30.0, "preparation_seconds": 10.0}
    cell.folder.mkdir(parents=True)
    for name, content in {"settings": record, "eval_results": results, "cost": cost}.items():
        (cell.folder / f"{name}.json").write_text(json.dumps(content))
    return cell


def predictions(cell, columns, step=20):
    """Write predictions-<step>.tsv from {name: column}."""
    path = cell.folder / "test" / f"predictions-{step}.tsv"
    path.parent.mkdir(exist_ok=True)
    lines = ["\t".join(columns), *("\t".join(map(str, row)) for row in zip(*columns.values(), strict=True))]
    path.write_text("\n".join(lines) + "\n")


def analysed(cell, analysis, step=20):
    """Write the analysis of predictions."""
    path = cell.folder / "test" / f"analysis-{step}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(analysis.model_dump_json(exclude_defaults=True), encoding="utf-8")
