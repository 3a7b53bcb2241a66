"""A run's folder, ckpt/<output_dir>/: the only file that knows the names in it. Every file and checkpoint is whole or absent."""

import json
import logging
import re
import shutil
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from safetensors import SafetensorError

from src.data import DataFile, Scores
from src.errors import CheckpointError, EnvironmentFailure
from src.files import DAMAGE, damaged, hold, read_json, remove, sync, write_json, write_lines
from src.scores import ScoreHistory, report
from src.settings import COMMAND_LINE, Settings

logger = logging.getLogger(__name__)

SETTINGS = "settings.json"
RESULTS = "eval_results.json"
RESULT_LINES = "eval_results.txt"
COST = "cost.json"  # written when training has reached its last update, and not before
LOG_LINES = "log.jsonl"
LOG = "train.log"
RESUME = "resume"  # what an unfinished training needs to go on
STATE = "state.safetensors"
PARTIAL = ".partial"
CHECKPOINT = re.compile(r"checkpoint-(\d+)")

# absent: nothing is there; in the way: a run is there that this one neither is nor continues; unfinished: it is this one, cut
# short, and training goes on; partial: likewise, but nothing is to be trained, only what there is to be scored; trained: training
# came to its end.
State = Literal["absent", "in the way", "unfinished", "partial", "trained"]


@dataclass
class RunFolder:
    """One run's folder. src.run_status.find_run only looks: nothing on disk changes before `start`."""

    settings: Settings
    files: Mapping[str, DataFile]
    weights: str | None  # digest of the local model folder that training starts from
    state: State
    why: str  # what is in the way
    history: ScoreHistory
    data: dict[str, dict[str, Any]]  # split -> file, status, sha256, rows ..., as settings.json holds them
    rescored: dict[str, Any]  # settings by which what the checkpoints say is read anew, where they were others
    look: Callable[[], tuple[State, str]]  # state and why, as they are now
    lock: int | None = None

    @property
    def folder(self) -> Path:
        """Where it lies."""
        return self.settings.run_folder

    @property
    def has_checkpoints(self) -> bool:
        """Whether there is nothing to train, only something to score or to report."""
        return self.state in ("partial", "trained")

    @property
    def complete(self) -> bool:
        """Whether nothing is left to do: trained, and scored as far as the settings ask."""
        return self.state == "trained" and not (self.settings.do_eval and self.unscored())

    # -- the folder -------------------------------------------------------------------------------------------------

    def start(self, environment: Mapping[str, Any], facts: Mapping[str, Mapping[str, Any]]) -> None:
        """Take the folder: lock it, make room, write settings.json. `environment`: versions, device, ...; `facts`: of each split.

        Raises CheckpointError where another process has it, EnvironmentFailure where it cannot be made.
        """
        try:
            self.folder.parent.mkdir(parents=True, exist_ok=True)
            self.lock = hold(self.folder.with_name(f".{self.folder.name}.lock"), str(self.folder))
            if self.look() != (self.state, self.why):
                raise CheckpointError(f"{self.folder} has been changed by another process meanwhile. Give the command again.")
            if self.state == "in the way":
                self._make_room()
            self.folder.mkdir(exist_ok=True)
            # What processes left that were ended in the middle of it.
            for left in [self.folder.with_name(f".{self.folder.name}{PARTIAL}"), *self.folder.glob(f".*{PARTIAL}")]:
                remove(left)
            if self.state == "unfinished":
                # Somebody may have scored what there was; a training that ends later must not find results that are not its own.
                remove(self.folder / RESULTS)
                remove(self.folder / RESULT_LINES)
        except OSError as error:
            raise EnvironmentFailure(f"{self.folder} cannot be made: {error.strerror}. Choose another --ckpt_dir.") from None
        for split, found in facts.items():
            self.data[split] |= found
        if self.rescored:
            # First no scores, then the other settings: settings never stand beside scores of others, whenever this is cut short.
            self._write_results()
            record = read_json(self.folder / SETTINGS)
            shown = "; ".join(f"{name} {record['settings'].get(name)!r}, now {new!r}" for name, new in self.rescored.items())
            logger.info("%s: %s: its checkpoints are scored anew", self.folder, shown)
            write_json(self.folder / SETTINGS, record | {"settings": record["settings"] | self.rescored})
        if not self.has_checkpoints:
            values = self.settings.model_dump()
            layers = {name: self.settings.layer_of(name) for name in values}
            record = {"settings": values, "layers": layers, "seed": self.settings.seed, "data": self.data}
            write_json(self.folder / SETTINGS, {**record, "weights": self.weights, **environment})

    def _make_room(self) -> None:
        if overwrites(self.settings):
            logger.info("%s: %s; removed, as --overwrite_output_dir says", self.folder, self.why)
            self._remove(self.folder)
        else:
            aside = next(path for n in range(1, 10**6) if not (path := Path(f"{self.folder}.{n}")).exists())
            self.folder.rename(aside)
            logger.info("%s: %s; it is kept as %s and training starts afresh", self.folder, self.why, aside)

    def _remove(self, folder: Path) -> None:
        """Remove a folder: under another name, as a removal that is cut short must not leave half of it under its own."""
        doomed = folder.with_name(f".{folder.name}{PARTIAL}")
        remove(doomed)
        folder.rename(doomed)
        remove(doomed)

    def log_file(self) -> Path:
        """Where the log of the run belongs."""
        return self.folder / LOG

    def log(self, record: Mapping[str, Any]) -> None:
        """Append a line to log.jsonl."""
        path = self.folder / LOG_LINES
        try:
            with open(path, "a", encoding="utf-8") as stream:
                stream.write(json.dumps(record) + "\n")
        except OSError as error:
            raise _no_room(path, error) from error

    def finish_training(self, cost: Mapping[str, Any]) -> None:
        """Write cost.json: training has come to its end."""
        write_json(self.folder / COST, cost)
        self.state = "trained"

    def finish(self, evaluation_seconds: float, preparation_seconds: float) -> None:
        """Add to cost.json, write eval_results.txt and eval_results.json, the same bytes for the same run.

        The last of them is the mark of a run that is done: its state for going on is no longer needed.
        """
        if cost := read_json(self.folder / COST):
            spent = round(cost.get("evaluation_seconds", 0.0) + evaluation_seconds, 3)
            times = {"evaluation_seconds": spent, "preparation_seconds": round(preparation_seconds, 3)}
            write_json(self.folder / COST, cost | times)
        self._write_results()
        if self.state == "trained":
            remove(self.folder / RESUME)

    def _write_results(self) -> None:
        data = {split: {key: fact for key, fact in facts.items() if key != "file"} for split, facts in self.data.items()}
        head = {"task": self.settings.task, "model": self.settings.model_name_or_path, "data": data}
        write_lines(self.folder / RESULT_LINES, self.history.lines())
        write_json(self.folder / RESULTS, head | self.history.results(self.checkpoints()))

    def clear_up(self) -> None:
        """Remove what a process that was killed after its last word could not."""
        if not (self.folder / RESUME).exists():
            return
        with suppress(CheckpointError, OSError):  # another process is still at it, or the folder is read-only
            self.lock = hold(self.folder.with_name(f".{self.folder.name}.lock"), str(self.folder))
            remove(self.folder / RESUME)

    def report(self) -> str:
        """A short table of the scores, and where the files are."""
        files = f"files: {self.folder}/  ({RESULTS}, checkpoint-*/, test/, {LOG})"
        path = self.folder / RESULTS
        try:
            return f"{report(read_json(path))}\n{files}"
        except DAMAGE as error:
            raise damaged(path, error) from None

    # -- going on after an interruption -----------------------------------------------------------------------------

    @property
    def state_file(self) -> Path:
        """Where the state lies from which an unfinished training goes on."""
        return self.folder / RESUME / STATE

    def save_state(self, save: Callable[[Path], None]) -> None:
        """Let `save` write a file and put it in the place of the state before it: at no moment is neither of them whole.

        Raises EnvironmentFailure where the disk does not take it.
        """
        partial = self.state_file.with_name(f".{STATE}{PARTIAL}")
        try:
            if (self.folder / LOG_LINES).exists():
                sync(self.folder / LOG_LINES)  # its lines up to here are not written again
            partial.parent.mkdir(exist_ok=True)
            save(partial)
            sync(partial)
            partial.replace(self.state_file)
            sync(partial.parent)
        except (OSError, SafetensorError) as error:
            partial.unlink(missing_ok=True)
            raise _no_room(self.state_file, error) from error

    def go_back_to(self, step: int, scores: Mapping[int, dict[str, Scores]]) -> None:
        """Take these scores for those so far, and cut log.jsonl off behind `step`."""
        self.history.scores = dict(scores)
        log = self.folder / LOG_LINES
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines() if log.exists() else []
        kept = [line for line in lines if 0 < _step_of(line) <= step]
        if len(kept) < len(lines):
            write_lines(log, kept)

    # -- scores -----------------------------------------------------------------------------------------------------

    def add_scores(self, step: int, split: str, scores: Scores, report: str = "") -> None:
        """Keep scores and write <split>/<split>-<step>.txt: a line a score, sorted by name, and the report below them."""
        self.history.scores.setdefault(step, {})[split] = scores
        lines = [f"  {name} = {value}" for name, value in sorted(scores.items())]
        write_lines(self.folder / split / f"{split}-{step}.txt", [*lines, *(["", report] if report else [])])

    def write_predictions(self, step: int, split: str, files: Mapping[str, Iterable[str]]) -> None:
        """Write the lines of each file: those of "predictions.tsv" become <split>/predictions-<step>.tsv."""
        for name, lines in files.items():
            write_lines(prediction_file(self.folder, step, split, name), lines)

    def unscored(self) -> list[tuple[int, list[str]]]:
        """(step, splits) of what the settings want scored and is not."""
        return self.history.missing(self.checkpoints(), self.settings.eval_all_checkpoints)

    # -- checkpoints ------------------------------------------------------------------------------------------------

    def checkpoints(self) -> list[int]:
        """Steps of the checkpoints in the folder, ascending."""
        return checkpoints_in(self.folder)

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
            remove(partial)
            raise _no_room(folder, error) from error

    def prune(self) -> None:
        """Remove checkpoints beyond the last, `selected` and `best_on_test` down to save_total_limit; -1 keeps all.

        One that is still to be scored stays.
        """
        limit = self.settings.save_total_limit
        if limit < 0:
            return
        steps = self.checkpoints()
        keep = {self.history.selected(steps), self.history.best_on_test(steps), *steps[-1:]}
        if self.settings.eval_all_checkpoints:
            keep |= {step for step, _ in self.unscored()}
        for step in reversed(steps):  # the newest first
            if len(keep & set(steps)) < limit:
                keep.add(step)
        for step in sorted(set(steps) - keep):
            self._remove(self.checkpoint_folder(step))


def _step_of(line: str) -> int:
    """The step of a line of log.jsonl; 0 where it is torn, as the last one may be: its step is one that comes again."""
    try:
        return int(json.loads(line)["step"])
    except DAMAGE:
        return 0


def _no_room(path: Path, error: Exception) -> EnvironmentFailure:
    reason = " ".join(str(error).split())
    return EnvironmentFailure(
        f"{path} cannot be written: {reason}. What was kept before it is whole; give the command again when there is room."
    )


def overwrites(settings: Settings) -> bool:
    """Whether an earlier run may be removed: a file may not say so."""
    return settings.overwrite_output_dir and settings.layer_of("overwrite_output_dir") == COMMAND_LINE


def prediction_file(folder: Path, step: int, split: str = "test", name: str = "predictions.tsv") -> Path:
    """Where the predictions of a run's checkpoint on a split lie."""
    stem, suffix = name.split(".")
    return folder / split / f"{stem}-{step}.{suffix}"


def checkpoints_in(folder: Path) -> list[int]:
    """Steps of the checkpoints in a run's folder, ascending."""
    if not folder.is_dir():
        return []
    return sorted(int(match[1]) for path in folder.iterdir() if (match := CHECKPOINT.fullmatch(path.name)) and path.is_dir())
