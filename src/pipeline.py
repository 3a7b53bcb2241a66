"""The stages of one run, top to bottom, whatever the task: the run scripts hand in how its files become features."""

from collections.abc import Callable, Mapping
from typing import Any

from src.data import DataFile, Split, Task
from src.run_status import find_run
from src.settings import Settings


def run_task(
    settings: Settings,
    task: Task,
    files: Mapping[str, DataFile],
    load_split: Callable[[str, DataFile, Settings, Task, Any], Split],
) -> None:
    """Do what the settings ask and print the scores.

    `files`: the data file of each split; `load_split(name, file, settings, task, tokenizer)` makes its features.
    Nothing on disk but the feature cache changes before files, tokenizer and model have proved to be good.
    """
    run = find_run(settings, task.headline, files)
    if run.complete:
        run.clear_up()
        print(run.report())
        return

    # Here and not above, so that a mistake in the arguments or files is answered at once: torch and transformers take seconds.
    from src.finetune import prepare, train_and_score

    accelerator, tokenizer, model = prepare(settings, task, run)
    splits = {name: load_split(name, file, settings, task, tokenizer) for name, file in files.items()}
    if settings.holds_out:
        splits["train"], splits["dev"] = splits["train"].hold_out(settings.dev_ratio)
    if settings.features_only:
        return
    train_and_score(settings, task, accelerator, tokenizer, model, splits, run)
    print(run.report())
