"""Write records in the format of Every Eval Ever, a shared collection of evaluation results: https://evalevalai.com.

A record is a JSON file about the runs of a model on a task: the mean of each score over seeds, with the deviation between seeds
as its uncertainty. It holds what the runs have recorded, and "unknown" where the format asks for more. The package
every-eval-ever has the schema and validates records; it needs other versions than this project, so it is not imported here.
"""

import hashlib
import json
import logging
import re
import shutil
import time
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from src.common.errors import ConfigError
from src.common.files import without_folders, write_json
from src.data.task import Task
from src.metrics.metrics import METRICS, display_name
from src.report.record import VIEWS, Record
from src.report.table import Row, Table, Value
from src.runs.files import RESULTS

logger = logging.getLogger(__name__)

SCHEMA = "0.3.0"  # the version of the format
LIBRARY = "korean-encoder-benchmark"
RELATIONSHIPS = ("first_party", "third_party", "collaborative", "other")  # of who has made the runs to who has made the model
ORGANIZATION = re.compile(r"\w([\w -]*\w)?")
MIXED = "; "  # between the values of runs that differ

Json = dict[str, Any]


@dataclass(frozen=True)
class Evaluator:
    """Who has made the runs, and how they relate to those who have made the models: one of RELATIONSHIPS."""

    organization: str = "unknown"
    relationship: str = RELATIONSHIPS[-1]


def write_records(folder: Path, table: Table, evaluator: Evaluator) -> None:
    """Write a record for each model and task, data/<task>/<developer>/<model>/<uuid>.json, in place of all earlier records.

    Raises ConfigError if the organization cannot name a folder.
    """
    if not ORGANIZATION.fullmatch(evaluator.organization):
        raise ConfigError(f"--organization {evaluator.organization!r}: use letters, digits, spaces, - and _.")
    shutil.rmtree(folder / "data", ignore_errors=True)
    now = str(int(time.time()))
    written = 0
    for row in table.rows:
        for task in (name for name in table.tasks if name in row.records):
            record = make_record(row, task, table, evaluator, now)
            developer, _, model = record["model_info"]["id"].partition("/")
            digest = hashlib.sha256(f"{developer}/{model}/{row.model}/{task}".encode()).digest()
            name = f"{uuid.UUID(bytes=digest[:16], version=4)}.json"  # the same for every report
            write_json(folder / "data" / task / developer / model.replace("/", "_") / name, record)
            written += 1
    logger.info("written: %s: %d records. requirements-eee.txt says how to validate them", folder, written)


def make_record(row: Row, name: str, table: Table, evaluator: Evaluator, now: str) -> Json:
    """Return the record of a model's runs on the task `name`. now: seconds since 1970."""
    runs, task = row.records[name], table.tasks[name]
    model = _model(row, runs, evaluator)
    values = {view: table.values(row, name, view) for view in VIEWS}
    flagged = (row.model, name) in table.flagged
    results = [_result(name, score, task, runs, [values[view][score] for view in VIEWS], flagged) for score in task.scores]
    finished = max((run.folder / RESULTS).stat().st_mtime for run in runs)
    return {
        "schema_version": SCHEMA,
        "evaluation_id": f"{name}/{model['id']}/{now}",
        "evaluation_timestamp": datetime.fromtimestamp(finished, UTC).isoformat(timespec="seconds"),
        "retrieved_timestamp": now,
        "source_metadata": {
            "source_name": LIBRARY,
            "source_type": "evaluation_run",
            "source_organization_name": evaluator.organization,
            "evaluator_relationship": evaluator.relationship,
        },
        "eval_library": {
            "name": LIBRARY,
            "version": _common(run.origin.version or "unknown" for run in runs),
            "additional_details": {
                "git_revision": _common(run.origin.git_revision or "unknown" for run in runs),
                **_of_all(runs, lambda run: run.origin.versions),
            },
        },
        "model_info": model,
        "evaluation_results": results,
    }


def _model(row: Row, runs: Sequence[Record], evaluator: Evaluator) -> Json:
    """Return the model that was fine-tuned: a repository on the hub, or a local folder, which is known by its digest."""
    base = _common(str(run.origin.settings["model_name_or_path"]) for run in runs)
    on_hub = all(run.origin.model_revision and not run.origin.weights for run in runs)
    details = {
        "deployment_type": "self_deployed",
        "model_availability": "open_weights" if on_hub else "unknown",
        "base_model_revision" if on_hub else "base_model_sha256": _common(
            (run.origin.model_revision if on_hub else run.origin.weights) or "unknown" for run in runs
        ),
        "adaptation": "fine-tuned on the training data of the task",
    }
    return {"name": row.title, "id": base if on_hub else f"{evaluator.organization}/{row.model}", "additional_details": details}


def _result(name: str, score: str, task: Task, runs: Sequence[Record], values: Sequence[Value], flagged: bool) -> Json:
    """Return one score of a task. values: of `selected` and `best_on_test`, in percent."""
    metric, (selected, best) = METRICS[task.metric], values
    unit = metric.scale / 100
    details = {f"seed_{run.seed}": str(run.choice(VIEWS[0]).test[score]) for run in runs}
    details |= {
        "checkpoint_selected_by": _common(run.results.selected.by for run in runs),
        "mean_of_checkpoints_best_on_test": f"{best.mean * unit:.6g}",
        "device": _common(run.origin.device for run in runs),
        "mixed_precision": _common(run.origin.mixed_precision for run in runs),
        "processes": _common(str(run.origin.processes) for run in runs),
    }
    if any(run.trials for run in runs):
        details["trials_to_find_settings_on_dev"] = _common(str(run.trials) for run in runs)
    if flagged:
        details["caution"] = "these runs differ from the others of their task in more than the model"
    is_signed = score in metric.signed
    return {
        "evaluation_result_id": f"{name}/{score}",
        "evaluation_name": task.title,
        "source_data": _data(task, name, runs),
        "metric_config": {
            "metric_id": f"{task.metric}.{score}",
            "metric_name": display_name(task, score),
            "metric_unit": "coefficient" if is_signed else "percent" if metric.scale == 100 else "proportion",
            "lower_is_better": False,
            "score_type": "continuous",
            "min_score": -metric.scale if is_signed else 0.0,
            "max_score": metric.scale,
        },
        "score_details": {"score": selected.mean * unit, "details": details, **_uncertainty(selected, unit)},
        "generation_config": {"additional_details": _of_all(runs, lambda run: without_folders(run.settings))},
    }


def _uncertainty(value: Value, unit: float) -> Json:
    """Return the deviation between seeds; nothing for a single run."""
    if value.sd is None:
        return {}
    sd = value.sd * unit
    error = {"value": sd / value.n**0.5, "method": "standard deviation over seeds / sqrt(number of seeds)"}
    return {"uncertainty": {"standard_error": error, "standard_deviation": sd, "num_samples": value.n}}


def _data(task: Task, name: str, runs: Sequence[Record]) -> Json:
    """Return the source of the data. Other files than the published ones are not what the definition's source names."""
    details = {"scored_on": task.scored_on, "licence": task.licence or "unknown"}
    for split in dict.fromkeys(split for run in runs for split in run.results.data):
        files = [run.results.data[split] for run in runs if split in run.results.data]
        details[f"{split}_sha256"] = _common(file.sha256 for file in files)
        details[f"{split}_file"] = _common(file.status for file in files)
    is_published = not task.files or all(file.status == "published" for run in runs for file in run.results.data.values())
    about = {"dataset_name": name, "additional_details": details}
    if is_published and task.source.startswith("http"):
        return {**about, "source_type": "url", "url": [task.source]}
    return {**about, "source_type": "other"}


def _of_all(runs: Iterable[Record], facts_of: Any) -> Mapping[str, str]:
    """Return the facts of all runs as text, by name."""
    facts = [facts_of(run) for run in runs]
    names = dict.fromkeys(name for of_run in facts for name in of_run)
    return {name: _common(_text(of_run[name]) for of_run in facts if name in of_run) for name in names}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _common(values: Iterable[str]) -> str:
    """Return the value that all runs have, or all values."""
    return MIXED.join(dict.fromkeys(values))
