"""Copy the log and the scores of a run to an experiment tracker, such as TensorBoard, by the classes of accelerate."""

import json
import logging
from collections.abc import Iterator
from typing import Any

from accelerate.tracking import LOGGER_TYPE_TO_CLASS, get_available_trackers

from src.common.errors import ConfigError, brief
from src.common.files import remove
from src.runs.files import LOG_LINES
from src.runs.folder import RunFolder
from src.settings.schema import NO_TRACKER, Settings

logger = logging.getLogger(__name__)


def require_tracker(settings: Settings) -> None:
    """Raise ConfigError if the package of the tracker `report_to` is not installed."""
    name = settings.report_to
    if name != NO_TRACKER and name not in [str(available) for available in get_available_trackers()]:
        package = "-r requirements-tensorboard.txt" if name == "tensorboard" else name.replace("_", "-")
        raise ConfigError(f"report_to = {name} ({settings.layer_of('report_to')}) is not installed. Run: pip install {package}")


class Tracker:
    """Shows in a tracker what a run has recorded: its settings, the lines of log.jsonl, its scores by step.

    It starts with all that is recorded when it is first updated. So after a resume nothing is missing, and nothing is there
    twice: the run's own records end at the step that it resumes from.
    """

    def __init__(self, run: RunFolder) -> None:
        self.run = run
        self.name: str = run.settings.report_to
        self.tracker: Any = None
        self.position = 0  # in log.jsonl
        self.scored: set[tuple[int, str]] = set()

    def update(self) -> None:
        """Show what has been recorded since the last update. An error ends the tracking, and not the run."""
        if self.name == NO_TRACKER:
            return
        try:
            if self.tracker is None:
                self._start()
            for group, step, values in self._new_records():
                self.tracker.log({f"{group}/{name}": value for name, value in values.items() if value is not None}, step=step)
        except Exception as error:
            logger.warning("%s gets no more records of this run: %s: %s", self.name, type(error).__name__, brief(error))
            self.name = NO_TRACKER

    def close(self) -> None:
        """Finish the tracking."""
        if self.tracker is not None:
            self.tracker.finish()

    def _start(self) -> None:
        tracker_class: Any = LOGGER_TYPE_TO_CLASS[self.name]
        if tracker_class.requires_logging_directory:
            remove(self.run.folder / self.name)  # of the process before an interruption
            self.tracker = tracker_class(self.name, logging_dir=self.run.folder)
        else:
            self.tracker = tracker_class(self.run.settings.output_dir)
        self.tracker.start()
        settings = self.run.settings.model_dump()
        plain = {name: value if isinstance(value, bool | str | float | int) else str(value) for name, value in settings.items()}
        self.tracker.store_init_configuration(plain)

    def _new_records(self) -> Iterator[tuple[str, int, dict[str, Any]]]:
        """Yield group, step and values of what has been recorded since the last call."""
        path = self.run.folder / LOG_LINES
        if path.exists():
            with open(path, encoding="utf-8") as stream:
                stream.seek(self.position)
                for record in map(json.loads, iter(stream.readline, "")):
                    yield "train", record.pop("step"), record
                self.position = stream.tell()
        for step, splits in self.run.history.scores.items():
            for split in splits.keys() - {name for scored, name in self.scored if scored == step}:
                yield split, step, splits[split]
                self.scored.add((step, split))
