"""Show where the time of training or of scoring goes: the operations that take most of it.

    python3 benchmarks/profile_training.py --model_name_or_path FOLDER --case hate-speech --batching bucketed
    python3 benchmarks/profile_training.py --model_name_or_path FOLDER --case nsmc --scoring

FOLDER contains config.json and the tokenizer's files; benchmarks/models.py writes one.
"""

import argparse
import logging
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.ways import WARM_UP, Case
from processor.definition import TASKS
from src.common.cli import run_command
from src.model.device import synchronize
from src.training.evaluate import predict
from src.training.finetune import start_device, wrap_model
from src.training.state import TrainState


def main() -> None:
    """Profile some updates, or the scoring of as many batches, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model_name_or_path", required=True, help="folder with config.json and the tokenizer's files")
    parser.add_argument("--case", choices=TASKS, default="hate-speech")
    parser.add_argument("--batching", choices=("shuffled", "bucketed"), default="shuffled")
    parser.add_argument("--scoring", action="store_true", help="profile scoring instead of training")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--rows", type=int, default=30, help="number of lines of the table")
    parser.add_argument("--data_dir", default="data")
    parser.add_argument("--train_batch_size")
    parser.add_argument("--mixed_precision", default="auto")
    parser.add_argument("--torch_compile", default="auto")
    arguments = parser.parse_args()
    if not Path(arguments.model_name_or_path, "config.json").is_file():
        parser.error(f"{arguments.model_name_or_path}: config.json is missing")
    logging.disable(logging.WARNING)
    case = Case(arguments.case, arguments)
    settings = case.settings_with(batching=arguments.batching)
    accelerator = start_device(settings)
    task_model = wrap_model(case.model(), settings, case.task, accelerator)
    training = TrainState(task_model, case.features, accelerator)
    some = case.features.subset(torch.arange(arguments.steps * settings.train_batch_size).numpy() % len(case.features))

    def work(steps: int) -> None:
        if arguments.scoring:
            predict(training.task_model, some, settings.evaluation_budget)
        else:
            for _ in range(steps):
                training.advance()

    work(WARM_UP)
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if case.device.type == "cuda" else [])]
    with profile(activities=activities) as profiled:
        work(arguments.steps)
        synchronize(case.device)
    by = "self_cuda_time_total" if case.device.type == "cuda" else "self_cpu_time_total"
    print(profiled.key_averages().table(sort_by=by, row_limit=arguments.rows, max_name_column_width=48))


if __name__ == "__main__":
    run_command(main)
