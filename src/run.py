"""The stages of one run, top to bottom, whatever the task: the run scripts hand in how its files become features."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from src.checkpoint import DataFile
from src.earlier import find_run
from src.settings import Settings


class Task(Protocol):
    """What a run needs to know of a task; processor.Task says more."""

    @property
    def headline(self) -> str: ...
    @property
    def output_mode(self) -> str: ...
    @property
    def labels(self) -> Mapping[str, str] | None: ...


def run_task(
    settings: Settings,
    task: Task,
    find_files: Callable[[Settings], Mapping[str, DataFile]],
    load_split: Callable[[str, Any, Settings, Any, Any], Any],
) -> None:
    """Do what the settings ask and print the scores.

    `find_files` names the data file of each split; `load_split(name, file, settings, task, tokenizer)` makes its features.
    Nothing on disk but the feature cache changes before files, tokenizer and model have proved to be good.
    """
    files = find_files(settings)
    run = find_run(settings, task.headline, files)
    if run.complete:
        run.clear_up()
        print(run.report())
        return

    # Here and not above, so that a mistake in the arguments or files is answered at once: torch and transformers take seconds.
    from src.stages import prepare, train_and_score

    accelerator, tokenizer, model = prepare(settings, task, run)
    splits = {name: load_split(name, file, settings, task, tokenizer) for name, file in files.items()}
    if settings.holds_out:
        splits["train"], splits["dev"] = splits["train"].hold_out(settings.dev_ratio)
    if settings.features_only:
        return
    train_and_score(settings, task, accelerator, tokenizer, model, splits, run)
    print(run.report())
