"""A run's folder, ckpt/<output_dir>/: its lock, records, log, scores, saved state and checkpoints."""

import json
import logging
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from src.common.errors import CheckpointError, EnvironmentFailure
from src.common.files import (
    DAMAGE,
    PARTIAL,
    atomic_write,
    damaged,
    hold,
    read_json,
    remove,
    remove_at_once,
    set_usual_mode,
    sync,
    try_to_write,
    write_json,
    write_lines,
    writing,
)
from src.data.task import Scores
from src.runs import files
from src.runs.card import write_card
from src.runs.files import RESULTS, Contents, checkpoints_in, next_earlier, prediction_file, read_contents, step_of_line
from src.runs.scores import ScoreHistory, report
from src.settings.schema import Settings

logger = logging.getLogger(__name__)

# How a run uses its folder. "new": there is no run in it; "replace": another run is in it, which will be moved aside or removed;
# "resume": training resumes; "score": training is unfinished, but with --do_train false only its checkpoints are scored;
# "trained": training is finished.
State = Literal["new", "replace", "resume", "score", "trained"]


@dataclass
class RunFolder:
    """One run's folder, made by src.runs.status.find_run. Nothing on disk changes before `start`."""

    settings: Settings
    weights: str | None  # digest of the local model folder that training starts from
    contents: Contents  # of the folder, when the state was worked out
    state: State
    reason: str  # why the run in the folder is to be replaced
    history: ScoreHistory
    data: dict[str, dict[str, Any]]  # split -> file, status, sha256, rows ..., as in settings.json
    changed_outputs: dict[str, Any]  # settings that differ from the recorded run's, so that its checkpoints are scored again
    lock: int | None = None

    @property
    def folder(self) -> Path:
        return self.settings.run_folder

    @property
    def has_checkpoints(self) -> bool:
        """Whether checkpoints are only to be scored or reported, and nothing is to be trained."""
        return self.state in ("score", "trained")

    @property
    def complete(self) -> bool:
        """Whether nothing is left to do: training is finished, and all scores that the settings ask for are there."""
        return self.state == "trained" and not (self.settings.do_eval and self.unscored())

    @property
    def finished_on(self) -> str:
        """When its results were written, in local time: 2026-12-01 14:05."""
        return datetime.fromtimestamp((self.folder / RESULTS).stat().st_mtime).strftime("%Y-%m-%d %H:%M")

    # -- start and end ----------------------------------------------------------------------------------------------

    def start(self, environment: Mapping[str, Any], data: Mapping[str, Mapping[str, Any]]) -> None:
        """Lock the folder, make room for the run and write settings.json.

        environment: versions, device etc. data: split -> what is known about its rows. Raises CheckpointError if another process
        uses the folder or has changed it, EnvironmentFailure if it cannot be written.
        """
        try:
            self.folder.parent.mkdir(parents=True, exist_ok=True)
            self._lock()
            # Before hours of training: a file system that cannot rename folders could not keep a checkpoint.
            try_to_write(self.folder.with_name(f".{self.folder.name}.trial{PARTIAL}"))
            if read_contents(self.folder) != self.contents:
                raise CheckpointError(f"another process has changed {self.folder}. Run the same command again.")
            if self.state == "replace":
                self._make_room()
            self.folder.mkdir(exist_ok=True)
            self._remove_leftovers()
        except OSError as error:
            raise EnvironmentFailure(f"{self.folder} cannot be written: {error.strerror}. Choose another --ckpt_dir.") from None
        for split, known in data.items():
            self.data[split] |= known
        if self.changed_outputs:
            self._record_changed_outputs()
        if not self.has_checkpoints:
            values = self.settings.model_dump()
            layers = {name: self.settings.layer_of(name) for name in values}
            record = {"settings": values, "layers": layers, "seed": self.settings.seed, "data": self.data}
            write_json(self.folder / files.SETTINGS, {**record, "weights": self.weights, **environment})

    def _lock(self) -> None:
        self.lock = hold(self.folder.with_name(f".{self.folder.name}.lock"), str(self.folder))

    def unlock(self) -> None:
        """Unlock the folder, if it is locked, before the process ends: a notebook may run the command again."""
        if self.lock is not None:
            os.close(self.lock)
            self.lock = None

    def _make_room(self) -> None:
        if self.settings.overwrites:
            logger.info("%s: %s; removing it (--overwrite_output_dir)", self.folder, self.reason)
            remove_at_once(self.folder)
        else:
            aside = self.folder.rename(next_earlier(self.folder))
            logger.info("%s: %s; moved to %s, training starts over", self.folder, self.reason, aside)

    def _remove_leftovers(self) -> None:
        """Remove files that killed processes left half written, and results of an unfinished run that is to resume."""
        for path in [self.folder.with_name(f".{self.folder.name}{PARTIAL}"), *self.folder.glob(f".*{PARTIAL}")]:
            remove(path)
        if self.state == "resume":
            # Results of a --do_train false in between: with cost.json beside them the run would look finished.
            remove(self.folder / files.RESULTS)
            remove(self.folder / files.RESULT_LINES)

    def _record_changed_outputs(self) -> None:
        """Write results without scores, then the changed settings: old scores must never be beside new settings."""
        self._write_results()
        record = read_json(self.folder / files.SETTINGS)
        changes = "; ".join(f"{name} {record['settings'].get(name)!r}, now {new!r}" for name, new in self.changed_outputs.items())
        logger.info("%s: %s: scoring its checkpoints again", self.folder, changes)
        write_json(self.folder / files.SETTINGS, record | {"settings": record["settings"] | self.changed_outputs})

    def finish_training(self, cost: Mapping[str, Any]) -> None:
        """Write cost.json, which marks the end of training."""
        write_json(self.folder / files.COST, cost)
        self.state = "trained"

    def finish(self, evaluation_seconds: float, preparation_seconds: float) -> None:
        """Add the times to cost.json and write eval_results.txt and eval_results.json, the same bytes for the same run.

        eval_results.json, written last, marks a finished run: the saved state of training is no longer needed.
        """
        if cost := read_json(self.folder / files.COST):
            total = round(cost.get("evaluation_seconds", 0.0) + evaluation_seconds, 3)
            times = {"evaluation_seconds": total, "preparation_seconds": round(preparation_seconds, 3)}
            write_json(self.folder / files.COST, cost | times)
        self._write_results()
        if self.state == "trained":
            try:
                remove(self.folder / files.RESUME)
            except OSError as error:  # the run is complete, and remove_state tries again when it is reported
                logger.warning("%s cannot be removed: %s", self.folder / files.RESUME, error.strerror)

    def _write_results(self) -> None:
        data = {split: {name: value for name, value in entry.items() if name != "file"} for split, entry in self.data.items()}
        head = {"task": self.settings.task, "model": self.settings.model_name_or_path, "data": data}
        write_lines(self.folder / files.RESULT_LINES, self.history.lines())
        write_json(self.folder / files.RESULTS, head | self.history.results(self.checkpoints()))

    def remove_state(self) -> None:
        """Remove the saved state of a complete run, if the process that finished it was killed before it could."""
        if (self.folder / files.RESUME).exists():
            with suppress(CheckpointError, OSError):  # another process is about to do it, or the folder is read-only
                self._lock()
                remove(self.folder / files.RESUME)

    def report(self) -> str:
        """Return a short table of the scores, and where the files are. Raises CheckpointError if eval_results.json is damaged."""
        path = self.folder / files.RESULTS
        try:
            return f"{report(read_json(path))}\nfiles: {self.folder}/  ({files.RESULTS}, checkpoint-*/, test/, {files.LOG})"
        except DAMAGE as error:
            raise damaged(path, error) from None

    # -- log and saved state ----------------------------------------------------------------------------------------

    def log(self, record: Mapping[str, Any]) -> None:
        """Append a line to log.jsonl. Raises EnvironmentFailure if it cannot be written."""
        path = self.folder / files.LOG_LINES
        with writing(path), open(path, "a", encoding="utf-8") as stream:
            stream.write(json.dumps(record) + "\n")

    @property
    def state_file(self) -> Path:
        """Path of the saved state of training."""
        return self.folder / files.STATE

    @contextmanager
    def new_state(self) -> Iterator[Path]:
        """Yield the path of a file to write; when the block ends, it replaces the saved state atomically.

        Raises EnvironmentFailure if it cannot be written.
        """
        with writing(self.state_file):
            if (self.folder / files.LOG_LINES).exists():
                sync(self.folder / files.LOG_LINES)  # lines up to this step are not written again after resuming
            with atomic_write(self.state_file) as path:
                yield path

    def rewind(self, step: int, unlogged: int = 0) -> None:
        """Load the saved scores up to `step`, and drop later ones, and later lines of log.jsonl.

        unlogged: the last steps that training is still to log. Raises CheckpointError if the saved scores are damaged.
        """
        try:
            self.history.load_state_dict(read_json(self.folder / files.SCORES), step)
        except DAMAGE as error:
            raise damaged(self.folder / files.SCORES, error) from None
        if self.history.scores:
            write_json(self.folder / files.SCORES, self.history.state_dict())
        path = self.folder / files.LOG_LINES
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else []
        kept = [line for line in lines if 0 < step_of_line(line) <= step - unlogged]
        if len(kept) < len(lines):
            write_lines(path, kept)

    # -- scores -----------------------------------------------------------------------------------------------------

    def add_scores(self, step: int, split: str, scores: Scores, report: str = "", cautions: Sequence[str] = ()) -> None:
        """Record scores and reasons to doubt them, here and in the card of the checkpoint, and write <split>/<split>-<step>.txt.

        The file has one line per score, sorted by name, then the report.
        """
        lines = [f"  {name} = {value}" for name, value in sorted(scores.items())]
        write_lines(self.folder / split / f"{split}-{step}.txt", [*lines, *(["", report] if report else [])])
        self.history.add(step, split, scores, list(cautions))
        write_card(self.checkpoint_folder(step), step, self.history)  # first: scores that are saved are not computed again
        if not self.has_checkpoints:  # training is not finished
            write_json(self.folder / files.SCORES, self.history.state_dict())

    def write_predictions(self, step: int, split: str, outputs: Mapping[str, Iterable[str]]) -> None:
        """Write the lines of each file: "predictions.tsv" becomes <split>/predictions-<step>.tsv."""
        for name, lines in outputs.items():
            write_lines(prediction_file(self.folder, step, split, name), lines)

    def unscored(self) -> list[tuple[int, list[str]]]:
        """Return (step, splits) of the checkpoints that the settings ask to score and that are not scored yet."""
        return self.history.missing(self.checkpoints(), self.settings.eval_all_checkpoints)

    # -- checkpoints ------------------------------------------------------------------------------------------------

    def checkpoints(self) -> list[int]:
        """Return the steps of the saved checkpoints, ascending."""
        return checkpoints_in(self.folder)

    def checkpoint_folder(self, step: int) -> Path:
        """Return the path of the checkpoint of `step`."""
        return self.folder / f"checkpoint-{step}"

    @contextmanager
    def new_checkpoint(self, step: int) -> Iterator[Path]:
        """Yield a folder to fill; when the block ends, add settings.json and card, flush all and rename it to checkpoint-<step>.

        Raises EnvironmentFailure if it cannot be written.
        """
        folder = self.checkpoint_folder(step)
        partial = folder.with_name(f".{folder.name}{PARTIAL}")
        with writing(folder):
            try:
                partial.mkdir()
                yield partial
                # Not `copy`, which also sets the mode: that may be forbidden.
                shutil.copyfile(self.folder / files.SETTINGS, partial / files.SETTINGS)
                write_card(partial, step, self.history)
                for path in partial.iterdir():
                    set_usual_mode(path)
                    sync(path)
                sync(partial)
                partial.rename(folder)
                sync(self.folder)
            finally:
                remove(partial)

    def prune(self) -> None:
        """Remove the checkpoints that save_total_limit does not keep; see ScoreHistory.kept."""
        if (limit := self.settings.save_total_limit) < 0:
            return
        steps = self.checkpoints()
        for step in sorted(set(steps) - self.history.kept(steps, limit, self.settings.eval_all_checkpoints)):
            try:
                remove_at_once(self.checkpoint_folder(step))
            except OSError as error:  # on a network disk, another machine may have its files open
                logger.warning("%s cannot be removed: %s", self.checkpoint_folder(step), error.strerror)
