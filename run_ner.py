"""Fine-tune and score an encoder on a tagging task: naver-ner."""

import sys

from processor import TASKS, tasks_of
from src.config import load_settings
from src.errors import run_command
from src.progress import start_logging

SCRIPT = "run_ner.py"


def main() -> None:
    start_logging()
    settings = load_settings(sys.argv[1:], script=SCRIPT, tasks=tasks_of(SCRIPT), default_task="naver-ner")
    task = TASKS[settings.task]

    # Each import below waits until what comes before it is known to be good: a mistake is answered at once.
    from processor.base import describe_files
    from src.checkpoint import find_run

    files = describe_files(settings.data_files)
    run = find_run(settings, task.headline, files)
    if run.complete:
        print(run.report())
        return

    from src.stages import prepare, train_and_score

    accelerator, tokenizer, model = prepare(settings, task, run)

    from processor.ner import load_split

    splits = {name: load_split(name, file, settings, task, tokenizer) for name, file in files.items()}
    if settings.features_only:
        return
    train_and_score(settings, task, accelerator, tokenizer, model, splits, run)
    print(run.report())


if __name__ == "__main__":
    run_command(main)
