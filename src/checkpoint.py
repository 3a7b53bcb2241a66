"""A run's folder, ckpt/<output_dir>/: the only file that knows the names in it. Every file and checkpoint is whole or absent."""

import json
import logging
import re
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from safetensors import SafetensorError

from src.errors import CheckpointError, EnvironmentFailure
from src.files import read_json, sync, write_json, write_lines
from src.settings import COMMAND_LINE, Settings, changes_results

logger = logging.getLogger(__name__)

SETTINGS = "settings.json"
RESULTS = "eval_results.json"
RESULT_LINES = "eval_results.txt"
COST = "cost.json"
LOG_LINES = "log.jsonl"
LOG = "train.log"
PARTIAL = ".partial"
CHECKPOINT = re.compile(r"checkpoint-(\d+)")

Scores = dict[str, float]


class DataFile(Protocol):
    """What a run records of a data file; processor.base.DataFile says more."""

    @property
    def path(self) -> Path: ...
    @property
    def sha256(self) -> str: ...
    @property
    def status(self) -> str: ...


@dataclass
class Run:
    """One run's folder and the scores reached so far, {step: {split: scores}}.

    `find_run` only looks. Nothing on disk changes before `start`, so that a command that fails early leaves an earlier run alone.
    """

    folder: Path
    headline: str
    settings: Settings
    data: dict[str, dict[str, Any]]  # split -> file, status, sha256, rows; the train file of an earlier run included
    trained: bool = False  # an earlier run of the same settings has finished training
    put_aside: str = ""  # why what lies in the folder has to give way; empty: nothing does
    scores: dict[int, dict[str, Scores]] = field(default_factory=dict)

    # -- the folder -------------------------------------------------------------------------------------------------

    def start(self, environment: Mapping[str, Any], rows: Mapping[str, int]) -> None:
        """Make room and write settings.json. `environment`: versions, device, ...; `rows`: rows of each split.

        Raises CheckpointError where --overwrite_output_dir meets a folder that no run has written, EnvironmentFailure where
        the folder cannot be made.
        """
        if self.put_aside:
            if self._overwrites():
                if not (self.folder / SETTINGS).is_file():
                    raise CheckpointError(
                        f"{self.folder} was not written by a run (no {SETTINGS}), so it is not removed. Move it away."
                    )
                logger.info("%s: %s; removed, as --overwrite_output_dir says", self.folder, self.put_aside)
                shutil.rmtree(self.folder)
            else:
                aside = next(path for n in range(1, 10**6) if not (path := Path(f"{self.folder}.{n}")).exists())
                self.folder.rename(aside)
                logger.info("%s: %s; it is kept as %s and training starts afresh", self.folder, self.put_aside, aside)
        for split, count in rows.items():
            self.data[split]["rows"] = count
        if not self.trained:
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise EnvironmentFailure(f"{self.folder} cannot be made: {error.strerror}. Choose another --ckpt_dir.") from None
            values = self.settings.model_dump()
            layers = {name: self.settings.layer_of(name) for name in values}
            record = {"settings": values, "layers": layers, "seed": self.settings.seed, "data": self.data, **environment}
            write_json(self.folder / SETTINGS, record)

    def _overwrites(self) -> bool:
        return self.settings.overwrite_output_dir and self.settings.layer_of("overwrite_output_dir") == COMMAND_LINE

    def log_file(self) -> Path:
        """Where the log of the run belongs."""
        return self.folder / LOG

    def log(self, record: Mapping[str, Any]) -> None:
        """Append a line to log.jsonl."""
        with open(self.folder / LOG_LINES, "a", encoding="utf-8") as stream:
            stream.write(json.dumps(record) + "\n")

    @property
    def complete(self) -> bool:
        """Whether nothing is left to do: trained, and scored as far as the settings ask."""
        return self.trained and not (self.settings.do_eval and self.unscored())

    # -- scores -----------------------------------------------------------------------------------------------------

    def is_scored(self, step: int, split: str) -> bool:
        """Whether the weights of `step` have been scored on `split`."""
        return split in self.scores.get(step, {})

    def add_scores(self, step: int, split: str, scores: Scores) -> None:
        """Keep scores and write <split>/<split>-<step>.txt, a line a score, sorted by name."""
        self.scores.setdefault(step, {})[split] = scores
        lines = [f"  {name} = {value}" for name, value in sorted(scores.items())]
        write_lines(self.folder / split / f"{split}-{step}.txt", lines)

    def write_predictions(self, step: int, split: str, lines: Iterable[str]) -> None:
        """Write <split>/predictions-<step>.tsv."""
        write_lines(self.folder / split / f"predictions-{step}.tsv", lines)

    def selected(self) -> int | None:
        """The saved checkpoint that is best on dev by the headline score, the earliest of equals; without a dev file the last."""
        steps = self.checkpoints()
        if "dev" not in self.data:
            return steps[-1] if steps else None
        return self._best("dev", steps)

    def best_on_test(self) -> int | None:
        """The saved checkpoint that is best on test: the way the published tables choose."""
        return self._best("test", self.checkpoints())

    def _best(self, split: str, steps: list[int]) -> int | None:
        scored = [step for step in steps if self.is_scored(step, split)]
        return max(scored, key=lambda step: (self.scores[step][split][self.headline], -step), default=None)

    def unscored(self) -> list[tuple[int, list[str]]]:
        """(step, splits) still to score: of every checkpoint, or, without eval_all_checkpoints, of the selected and the last."""
        steps = self.checkpoints()
        wanted: list[str] = [split for split in ("dev", "test") if split in self.data]
        if not self.settings.eval_all_checkpoints:
            dev_only = [(step, ["dev"]) for step in steps if "dev" in wanted and not self.is_scored(step, "dev")]
            if dev_only:  # the selected one is not known before
                return dev_only
            steps = sorted({step for step in (self.selected(), *steps[-1:]) if step is not None})
        missing = [(step, [split for split in wanted if not self.is_scored(step, split)]) for step in steps]
        return [(step, splits) for step, splits in missing if splits]

    def write_results(self) -> None:
        """Write eval_results.json and eval_results.txt: the run is finished. The same run gives the same bytes."""
        selected, best = self.selected(), self.best_on_test()
        data = {split: {key: facts[key] for key in ("status", "sha256", "rows")} for split, facts in self.data.items()}
        results = {
            "task": self.settings.task,
            "model": self.settings.model_name_or_path,
            "data": data,
            "headline": self.headline,
            "scores": {str(step): self.scores[step] for step in sorted(self.scores)},
            "selected": None if selected is None else self._result(selected, by="dev" if "dev" in self.data else "last"),
            "best_on_test": None if best is None else self._result(best),
        }
        lines = {
            (name, step): f"{name}_{step} = {value}"
            for step, splits in self.scores.items()
            for name, value in splits.get("test", {}).items()
        }
        write_lines(self.folder / RESULT_LINES, (lines[key] for key in sorted(lines)))
        write_json(self.folder / RESULTS, results)

    def _result(self, step: int, by: str = "") -> dict[str, Any]:
        scores = self.scores.get(step, {})
        splits = {split: scores.get(split) for split in ("dev", "test") if by or split == "test"}
        return {"step": step, "checkpoint": f"checkpoint-{step}"} | ({"by": by} if by else {}) | splits

    def report(self) -> str:
        """A short table of the scores, and where the files are."""
        lines = [f"{self.settings.task}: {self.headline}"]
        views = {"selected": self.selected(), "best_on_test": self.best_on_test()}
        by = "on dev" if "dev" in self.data else "the last, there is no dev file"
        notes = {"selected": by, "best_on_test": "the published way"}
        for name, step in views.items():
            if step is not None:
                shown = [f"{split} {scores[self.headline]:.4f}" for split, scores in sorted(self.scores.get(step, {}).items())]
                lines.append(f"  {name:<13} step {step:<7} {'  '.join(shown) or 'not scored':<27} ({notes[name]})")
        lines.append(f"files: {self.folder}/  ({RESULTS}, checkpoint-*/, test/, {LOG})")
        return "\n".join(lines)

    def write_cost(self, cost: Mapping[str, Any]) -> None:
        """Write cost.json."""
        write_json(self.folder / COST, cost)

    # -- checkpoints ------------------------------------------------------------------------------------------------

    def checkpoints(self) -> list[int]:
        """Steps of the checkpoints in the folder, ascending."""
        return _checkpoints(self.folder)

    def checkpoint_folder(self, step: int) -> Path:
        """Where the checkpoint of `step` lies."""
        return self.folder / f"checkpoint-{step}"

    def save_checkpoint(self, step: int, save: Callable[[Path], None]) -> None:
        """Let `save` fill a folder, add settings.json, and give it its name only when it is whole and on the disk.

        Raises EnvironmentFailure where the disk does not take it.
        """
        folder = self.checkpoint_folder(step)
        partial = folder.with_name(f".{folder.name}{PARTIAL}")
        try:
            partial.mkdir()
            save(partial)
            shutil.copy(self.folder / SETTINGS, partial / SETTINGS)
            for path in partial.iterdir():
                sync(path)
            sync(partial)
            partial.rename(folder)
            sync(self.folder)
        except (OSError, SafetensorError) as error:
            shutil.rmtree(partial, ignore_errors=True)
            reason = " ".join(str(error).split())
            raise EnvironmentFailure(f"{folder} cannot be written: {reason}. The checkpoints before it are whole.") from error

    def prune(self) -> None:
        """Remove checkpoints beyond the last, `selected` and `best_on_test` down to save_total_limit; -1 keeps all.

        One that is still to be scored stays.
        """
        limit = self.settings.save_total_limit
        if limit < 0:
            return
        steps = self.checkpoints()
        keep = {self.selected(), self.best_on_test(), *steps[-1:]}
        if self.settings.eval_all_checkpoints:
            keep |= {step for step, _ in self.unscored()}
        for step in reversed(steps):  # the newest first
            if len(keep & set(steps)) < limit:
                keep.add(step)
        for step in set(steps) - keep:
            # A removal that is cut short must not leave half a checkpoint under its name.
            doomed = self.folder / f".checkpoint-{step}{PARTIAL}"
            self.checkpoint_folder(step).rename(doomed)
            shutil.rmtree(doomed)


def find_run(settings: Settings, headline: str, files: Mapping[str, DataFile]) -> Run:
    """What the run's folder holds, without changing it.

    Raises CheckpointError where --do_train false finds no checkpoint, or one of other settings or data.
    """
    data = {
        split: {"file": str(file.path), "status": file.status, "sha256": file.sha256, "rows": None}
        for split, file in files.items()
    }
    run = Run(settings.run_folder, headline, settings, data)
    earlier = read_json(run.folder / SETTINGS)
    difference = _difference(earlier, settings, data) if earlier else ""
    if not settings.do_train:
        if not run.checkpoints():
            raise CheckpointError(f"{run.folder} has no checkpoint to score. Train first, or name another run with --output_dir.")
        if difference:
            raise CheckpointError(f"{run.folder} holds a run with other settings ({difference}). Give the same, or --output_dir.")
        run.trained = True
    elif run.folder.is_dir() and any(run.folder.iterdir()):
        finished = (run.folder / RESULTS).is_file()
        if run._overwrites():
            run.put_aside = "holds an earlier run"
        elif not settings.resume:
            run.put_aside = "holds an earlier run (--resume false)"
        elif not earlier:
            run.put_aside = f"holds files that are not this program's ({SETTINGS} is missing)"
        elif difference:
            run.put_aside = f"holds a run with other settings ({difference})"
        elif not finished:
            run.put_aside = "holds a run that did not finish"
        else:
            run.trained = True
    if run.trained:
        scores = read_json(run.folder / RESULTS).get("scores", {})
        run.scores = {int(step): splits for step, splits in scores.items()}
        run.data = earlier["data"]
    return run


def _checkpoints(folder: Path) -> list[int]:
    if not folder.is_dir():
        return []
    return sorted(int(match[1]) for path in folder.iterdir() if (match := CHECKPOINT.fullmatch(path.name)) and path.is_dir())


def _difference(earlier: Mapping[str, Any], settings: Settings, data: Mapping[str, Mapping[str, Any]]) -> str:
    """The settings and data files that can change results and are not the same; empty where none."""
    old, new = earlier["settings"], settings.model_dump()
    names = [name for name in new if changes_results(name) and old.get(name) != new[name]]
    changed = [f"{name} {old.get(name)!r}, now {new[name]!r}" for name in names]
    for split in sorted(earlier["data"].keys() & data.keys()):
        if earlier["data"][split]["sha256"] != data[split]["sha256"]:
            changed.append(f"another {split} file")
    return "; ".join(changed)
