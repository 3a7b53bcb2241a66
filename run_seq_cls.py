"""Fine-tune and score an encoder on a sequence task: nsmc, paws, kornli, korsts, question-pair, hate-speech."""

import sys

from processor import TASKS, tasks_of
from src.config import load_settings
from src.errors import run_command
from src.progress import start_logging

SCRIPT = "run_seq_cls.py"


def main() -> None:
    start_logging()
    settings = load_settings(sys.argv[1:], script=SCRIPT, tasks=tasks_of(SCRIPT))
    task = TASKS[settings.task]

    # Each import below waits until what comes before it is known to be good: a mistake is answered at once.
    from processor.base import describe_files
    from src.checkpoint import find_run

    features_only = not settings.do_train and not settings.do_eval
    names = [name for name in settings.data_files if settings.do_train or features_only or name != "train"]
    files = describe_files({name: settings.data_files[name] for name in names})
    run = None if features_only else find_run(settings, task.headline, files)
    if run and run.complete:
        print(run.report())
        return

    from src.device import start_device
    from src.models import load_model, load_tokenizer

    accelerator = start_device(settings)
    checkpoint = run.checkpoint_folder(run.checkpoints()[-1]) if run and run.has_checkpoints else None
    tokenizer = load_tokenizer(settings, checkpoint)
    model = load_model(settings, task.output_mode, task.labels) if run and not checkpoint else None

    from processor.seq_cls import load_split

    splits = {name: load_split(name, file, settings, task, tokenizer) for name, file in files.items()}
    if run is None:
        return

    from src.stages import train_and_score

    train_and_score(settings, task, accelerator, tokenizer, model, splits, run)
    print(run.report())


if __name__ == "__main__":
    run_command(main)
