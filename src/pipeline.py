"""One run, whatever the task: find out what is left to do in its folder, do it, print the scores. Imports nothing heavy."""

import logging
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from processor.data_checks import check_files
from processor.data_files import DATA_DIR, describe_files
from processor.kinds import load_split
from processor.labels import complete_task
from processor.own_task import read_run
from processor.split import warn_of_quality
from src.data.task import DataFile, Split, Task
from src.runs.early import check_early
from src.runs.folder import RunFolder
from src.runs.status import find_run
from src.settings.schema import Settings

logger = logging.getLogger(__name__)

LoadSplit = Callable[[str, DataFile, Settings, Task, Any], Split]


def run_script(script: str, default_task: str = "") -> None:
    """Run the command line of a script. default_task: its task if the command line names none."""
    settings, task = read_run(sys.argv[1:], script, default_task)
    files = find_files(settings, task)
    task = complete_task(task, files, settings.run_folder)
    run_task(settings, task, check_files(files, settings, task), load_split)


def find_files(settings: Settings, task: Task) -> dict[str, DataFile]:
    """Return the data file of each split of a run; in the default data_dir, missing published files are downloaded first.

    Raises DataError for a missing file, EnvironmentFailure if a download fails.
    """
    missing = [path.name for path in settings.data_files.values() if not path.is_file() and path.name in task.files]
    if missing and settings.download and settings.data_dir == DATA_DIR:
        from processor.download import fetch  # it is a command of its own, which few runs need

        fetch(settings.task, task, list(dict.fromkeys(missing)), Path(settings.data_dir), settings.data_url)
    return describe_files(settings.data_files, task.files)


def run_task(settings: Settings, task: Task, files: Mapping[str, DataFile], load_split: LoadSplit) -> None:
    """Train and score as the settings ask, and print the scores.

    `files`: split -> its data file; `load_split(name, file, settings, task, tokenizer)` builds the features of a split.
    Nothing on disk but the feature cache changes before files, tokenizer and model are known to be good.
    """
    run = find_run(settings, task, files)
    try:
        if run.complete:
            run.remove_state()
            logger.info("%s: finished on %s; nothing was trained (--resume false trains again)", run.folder, run.finished_on)
        else:
            _complete(run, task, files, load_split)
    finally:
        run.unlock()
    if not settings.features_only:
        print(run.report())
        if settings.html_report:
            from src.report.html import write_run_page

            write_run_page(run.folder, task, with_texts=settings.html_report == "with_texts")


def _complete(run: RunFolder, task: Task, files: Mapping[str, DataFile], load_split: LoadSplit) -> None:
    """Do what is left to do of a run."""
    check_early(run, task.kind)
    # Imported here, so that errors in arguments and files are reported at once: importing torch takes seconds.
    from src.training.finetune import prepare, train_and_score

    settings = run.settings
    components = prepare(run, task)
    splits = {name: load_split(name, file, settings, task, components.tokenizer) for name, file in files.items()}
    for name, ratio in settings.held_out.items():
        splits["train"], splits[name] = splits["train"].hold_out(ratio, name)
    if settings.max_train_samples and "train" in splits:
        splits["train"] = splits["train"].draw(settings.max_train_samples, settings.seed)
    train = splits.pop("train", None)
    splits = {name: split.beside(train, run.data.get(name, {}).get("in_train")) for name, split in splits.items()}
    if train is not None and not run.has_checkpoints:  # what checkpoints were trained on is on record
        splits = {"train": train, **splits}
    warn_of_quality(splits)
    if not settings.features_only:
        train_and_score(run, task, components, splits)
