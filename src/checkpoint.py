"""A run's folder, ckpt/<output_dir>/: the only file that knows the names in it. Every file and checkpoint is whole or absent."""

import json
import logging
import re
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from pydantic import ValidationError
from safetensors import SafetensorError

from src.errors import CheckpointError, EnvironmentFailure, list_problems
from src.files import digest_folder, hold, read_json, sync, write_json, write_lines
from src.results import ScoreBook, Scores, report
from src.settings import COMMAND_LINE, Settings, changes

logger = logging.getLogger(__name__)

SETTINGS = "settings.json"
RESULTS = "eval_results.json"
RESULT_LINES = "eval_results.txt"
COST = "cost.json"  # written when training has reached its last update, and not before
LOG_LINES = "log.jsonl"
LOG = "train.log"
PARTIAL = ".partial"
CHECKPOINT = re.compile(r"checkpoint-(\d+)")

# absent: nothing is there; in the way: a run is there that this one neither is nor continues; partial: its training did not
# come to its end, but what there is can be scored; trained: it did.
State = Literal["absent", "in the way", "partial", "trained"]


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
    """One run's folder. `find_run` only looks: nothing on disk changes before `start`."""

    settings: Settings
    files: Mapping[str, DataFile]
    weights: str | None  # digest of the local model folder that training starts from
    state: State
    why: str  # what is in the way
    book: ScoreBook
    data: dict[str, dict[str, Any]]  # split -> file, status, sha256, rows ..., as settings.json holds them
    rescored: dict[str, Any]  # settings by which what the checkpoints say is read anew, where they were others
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
            if _look(self.settings, self.files, self.weights)[:2] != (self.state, self.why):
                raise CheckpointError(f"{self.folder} has been changed by another process meanwhile. Give the command again.")
            if self.state == "in the way":
                self._make_room()
            self.folder.mkdir(exist_ok=True)
        except OSError as error:
            raise EnvironmentFailure(f"{self.folder} cannot be made: {error.strerror}. Choose another --ckpt_dir.") from None
        for split, found in facts.items():
            self.data[split] |= found
        if not self.has_checkpoints:
            values = self.settings.model_dump()
            layers = {name: self.settings.layer_of(name) for name in values}
            record = {"settings": values, "layers": layers, "seed": self.settings.seed, "data": self.data}
            write_json(self.folder / SETTINGS, {**record, "weights": self.weights, **environment})

    def _make_room(self) -> None:
        if _overwrites(self.settings):
            logger.info("%s: %s; removed, as --overwrite_output_dir says", self.folder, self.why)
            shutil.rmtree(self.folder)
        else:
            aside = next(path for n in range(1, 10**6) if not (path := Path(f"{self.folder}.{n}")).exists())
            self.folder.rename(aside)
            logger.info("%s: %s; it is kept as %s and training starts afresh", self.folder, self.why, aside)

    def log_file(self) -> Path:
        """Where the log of the run belongs."""
        return self.folder / LOG

    def log(self, record: Mapping[str, Any]) -> None:
        """Append a line to log.jsonl."""
        with open(self.folder / LOG_LINES, "a", encoding="utf-8") as stream:
            stream.write(json.dumps(record) + "\n")

    def finish_training(self, cost: Mapping[str, Any]) -> None:
        """Write cost.json: from here on the run counts as trained."""
        write_json(self.folder / COST, cost)
        self.state = "trained"

    def finish(self, evaluation_seconds: float) -> None:
        """Write eval_results.json and eval_results.txt, the same bytes for the same run, and add to cost.json."""
        data = {split: {key: fact for key, fact in facts.items() if key != "file"} for split, facts in self.data.items()}
        head = {"task": self.settings.task, "model": self.settings.model_name_or_path, "data": data}
        write_lines(self.folder / RESULT_LINES, self.book.lines())
        write_json(self.folder / RESULTS, head | self.book.results(self.checkpoints()))
        if self.rescored:  # not before: the settings must never stand beside scores of others
            record = read_json(self.folder / SETTINGS)
            write_json(self.folder / SETTINGS, record | {"settings": record["settings"] | self.rescored})
        if cost := read_json(self.folder / COST):
            spent = round(cost.get("evaluation_seconds", 0.0) + evaluation_seconds, 3)
            write_json(self.folder / COST, cost | {"evaluation_seconds": spent})

    def report(self) -> str:
        """A short table of the scores, and where the files are."""
        files = f"files: {self.folder}/  ({RESULTS}, checkpoint-*/, test/, {LOG})"
        return f"{report(read_json(self.folder / RESULTS))}\n{files}"

    # -- scores -----------------------------------------------------------------------------------------------------

    def add_scores(self, step: int, split: str, scores: Scores, report: str = "") -> None:
        """Keep scores and write <split>/<split>-<step>.txt: a line a score, sorted by name, and the report below them."""
        self.book.scores.setdefault(step, {})[split] = scores
        lines = [f"  {name} = {value}" for name, value in sorted(scores.items())]
        write_lines(self.folder / split / f"{split}-{step}.txt", [*lines, *(["", report] if report else [])])

    def write_predictions(self, step: int, split: str, files: Mapping[str, Iterable[str]]) -> None:
        """Write the lines of each file: those of "predictions.tsv" become <split>/predictions-<step>.tsv."""
        for name, lines in files.items():
            stem, suffix = name.split(".")
            write_lines(self.folder / split / f"{stem}-{step}.{suffix}", lines)

    def unscored(self) -> list[tuple[int, list[str]]]:
        """(step, splits) of what the settings want scored and is not."""
        return self.book.missing(self.checkpoints(), self.settings.eval_all_checkpoints)

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
        keep = {self.book.selected(steps), self.book.best_on_test(steps), *steps[-1:]}
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


def read_settings(checkpoint: Path) -> Settings:
    """The settings that the checkpoint in a folder was trained with. Raises CheckpointError where none is there."""
    record = read_json(checkpoint / SETTINGS)
    steps = _checkpoints(checkpoint)
    if steps:
        chosen = read_json(checkpoint / RESULTS).get("selected", {}).get("step", steps[-1])
        raise CheckpointError(
            f"{checkpoint} is the folder of a run. Name one of its checkpoints: {checkpoint}/checkpoint-{chosen}"
        )
    if "settings" not in record or not (checkpoint / "config.json").is_file():
        raise CheckpointError(f"{checkpoint} is no checkpoint of a run: {SETTINGS} and config.json belong there.")
    known = {name: value for name, value in record["settings"].items() if name in Settings.model_fields}
    try:
        return Settings(**known)
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, detail['loc']))}: {detail['msg']}" for detail in error.errors()]
        raise CheckpointError(list_problems(f"{checkpoint / SETTINGS} holds settings that cannot be:", problems)) from None


def find_run(settings: Settings, headline: str, files: Mapping[str, DataFile]) -> Run:
    """What the run's folder holds, without changing it.

    Raises CheckpointError where it holds what no run has written, where its record is damaged, and where --do_train false
    finds no checkpoint or one of other settings or data.
    """
    model = Path(settings.model_name_or_path)
    weights = digest_folder(model) if settings.do_train and model.is_dir() else None
    state, why, earlier = _look(settings, files, weights)
    data: dict[str, dict[str, Any]] = {
        split: {"file": str(file.path), "status": file.status, "sha256": file.sha256, "rows": None}
        for split, file in files.items()
    }
    if settings.holds_out:
        data["dev"] = {**data["train"], "held_out": settings.dev_ratio}
    if state in ("partial", "trained"):
        data = earlier["data"]
    book = ScoreBook(headline, [split for split in ("dev", "test") if split in data])
    rescored: dict[str, Any] = {}
    if state in ("partial", "trained"):
        values = settings.model_dump()
        before = earlier["settings"]
        rescored = {name: new for name, new in values.items() if changes(name) == "outputs" and before.get(name, new) != new}
        if rescored and settings.do_eval:
            shown = "; ".join(f"{name} {before[name]!r}, now {new!r}" for name, new in rescored.items())
            logger.info("%s: %s: its checkpoints are scored anew", settings.run_folder, shown)
        else:
            scores = read_json(settings.run_folder / RESULTS).get("scores", {})
            book.scores = {int(step): splits for step, splits in scores.items()}
    return Run(settings, files, weights, state, why, book, data, rescored)


# -- looking ---------------------------------------------------------------------------------------------------------------


def _look(settings: Settings, files: Mapping[str, DataFile], weights: str | None) -> tuple[State, str, dict[str, Any]]:
    """The state of the run's folder, why a run there has to give way, and its settings.json."""
    if settings.features_only:
        return "absent", "", {}
    folder = settings.run_folder
    earlier = read_json(folder / SETTINGS)
    trained = (folder / COST).is_file() and (folder / RESULTS).is_file()
    if not settings.do_train:
        if not _checkpoints(folder) or not earlier:
            raise CheckpointError(f"{folder} holds no checkpoint to score. Train first, or name a run with --output_dir.")
        if difference := _difference(earlier, settings, files, weights):
            raise CheckpointError(f"{folder} holds a run with other settings ({difference}). Give the same, or --output_dir.")
        return "trained" if trained else "partial", "", earlier
    if not folder.is_dir() or not any(folder.iterdir()):
        return "absent", "", {}
    if not earlier:
        raise CheckpointError(
            f"{folder} holds files, but none of a run (no {SETTINGS}). Move it away, or give another --output_dir."
        )
    if _overwrites(settings):
        return "in the way", "holds an earlier run", earlier
    if not settings.resume:
        return "in the way", "holds an earlier run (--resume false)", earlier
    if difference := _difference(earlier, settings, files, weights):
        return "in the way", f"holds a run with other settings ({difference})", earlier
    if not trained:
        return "in the way", "holds a run that did not finish training", earlier
    return "trained", "", earlier


def _overwrites(settings: Settings) -> bool:
    return settings.overwrite_output_dir and settings.layer_of("overwrite_output_dir") == COMMAND_LINE


def _difference(earlier: Mapping[str, Any], settings: Settings, files: Mapping[str, DataFile], weights: str | None) -> str:
    """What can change a score and is not the same: settings, data files, the model's files; empty where nothing is."""
    if not {"settings", "data"} <= earlier.keys():
        raise CheckpointError(f"{settings.run_folder / SETTINGS} is not a run's. Move its folder away and run again.")
    matters = ("scores", "training") if settings.do_train else ("scores",)
    old, new = earlier["settings"], settings.model_dump()
    names = [name for name in new if changes(name) in matters and old.get(name) != new[name]]
    found = [f"{name} {old.get(name)!r}, now {new[name]!r}" for name in names]
    recorded = earlier["data"]
    found += [
        f"another {split} file" for split in files if split in recorded and recorded[split]["sha256"] != files[split].sha256
    ]
    if weights and weights != earlier.get("weights"):
        found.append(f"other files in {settings.model_name_or_path}")
    return "; ".join(found)


def _checkpoints(folder: Path) -> list[int]:
    if not folder.is_dir():
        return []
    return sorted(int(match[1]) for path in folder.iterdir() if (match := CHECKPOINT.fullmatch(path.name)) and path.is_dir())
