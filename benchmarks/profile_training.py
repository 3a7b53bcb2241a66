"""Show where the time of training or of scoring goes: the operations that take most of it.

python3 benchmarks/profile_training.py --model_name_or_path FOLDER --case hate-speech --batching bucketed
python3 benchmarks/profile_training.py --model_name_or_path FOLDER --case nsmc --scoring
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from src.common.cli import prepare_torch, run_command

prepare_torch()

import numpy as np
from torch.profiler import ProfilerActivity, profile

from benchmarks.measure import make_parser, parse
from benchmarks.train_speed import WARM_UP, Case, add_training_flags
from processor.definition import TASKS
from src.model.device import synchronize
from src.training.evaluate import predict


def main() -> None:
    """Profile some updates, or the scoring of as many batches, and print a table."""
    parser = make_parser(__doc__)
    parser.add_argument("--case", choices=TASKS, default="hate-speech")
    parser.add_argument("--batching", choices=("shuffled", "bucketed"), default="shuffled")
    parser.add_argument("--scoring", action="store_true", help="profile scoring instead of training")
    parser.add_argument("--rows", type=int, default=30, help="number of lines of the table")
    add_training_flags(parser, 10)
    arguments = parse(parser)
    case = Case(arguments.case, arguments)
    training = case.training(arguments.batching)
    some = case.features.subset(np.arange(arguments.steps * case.settings.train_batch_size) % len(case.features))

    def work(steps: int) -> None:
        if arguments.scoring:
            predict(training.task_model, some, case.settings.evaluation_budget)
        else:
            for _ in range(steps):
                training.advance()

    work(WARM_UP)
    with profile(activities=[ProfilerActivity.CPU, *[ProfilerActivity.CUDA] * (case.device.type == "cuda")]) as profiled:
        work(arguments.steps)
        synchronize(case.device)
    by = f"self_{'cuda' if case.device.type == 'cuda' else 'cpu'}_time_total"
    print(profiled.key_averages().table(sort_by=by, row_limit=arguments.rows, max_name_column_width=48))


if __name__ == "__main__":
    run_command(main)
