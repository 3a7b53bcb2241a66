"""Build the whole table: run models x tasks x seeds, report what they score, compare two models."""

import argparse
import sys
from pathlib import Path

from processor import TASKS
from processor.download import find_files
from src.config import Parser
from src.errors import run_command
from src.grid.cells import list_of, make_cells
from src.grid.compare import compare, show
from src.grid.published import Published
from src.grid.record import VIEWS
from src.grid.report import write_report
from src.grid.run import run_grid
from src.progress import start_logging
from src.settings import Settings

ROOT = Path(__file__).resolve().parent
PUBLISHED = ROOT / "processor" / "published_scores.json"
EPILOG = """
Every other flag is a setting of the runs: --max_steps 100 --data_dir data/sample (python3 run_seq_cls.py --help).
A run's folder is ckpt/benchmark/<model>/<task>/seed-<n>/; what is finished there is not run again, what has been interrupted goes
on, and what has failed is tried again.
"""


def main() -> None:
    start_logging()
    parser = Parser(prog="run_benchmark.py", description=__doc__, allow_abbrev=False)
    commands = parser.add_subparsers(dest="command", metavar="run | report", required=True)
    run = commands.add_parser(
        "run",
        help="run every model on every task with every seed",
        description="Run every model on every task with every seed, each as a process of its own.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    run.add_argument(
        "--models", required=True, help="names in config/, JSON files, model folders or hub ids, with commas between"
    )
    run.add_argument("--tasks", default="all", help=f"all (the default), or of {', '.join(TASKS)}")
    run.add_argument("--seeds", default="1,2,3,4,5", help="with commas between; default: %(default)s")
    run.add_argument("--devices", default="", help="GPU numbers with commas between, or cpu: a run on each at a time")
    run.add_argument("--dry_run", action="store_true", help="print the commands that are to run, and what they would cost")
    report = commands.add_parser("report", help="build results.md and results.csv from what has been run", allow_abbrev=False)
    what = report.add_subparsers(dest="what", metavar="compare")
    test = what.add_parser("compare", help="test whether one model is better than another", allow_abbrev=False)
    test.add_argument("models", nargs=2, metavar="MODEL", help="its name in the grid")
    test.add_argument("--tasks", default="all", help="with commas between; default: all of which both have runs")
    test.add_argument("--view", choices=VIEWS, default=VIEWS[0], help="which checkpoints; default: %(default)s")
    for each in (report, test):
        each.add_argument("--ckpt_dir", type=Path, default=argparse.SUPPRESS, help="folder of all runs; default: ckpt")
    given, rest = parser.parse_known_args()
    if given.command == "run":
        run_cells(given, rest)
    elif rest:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    else:
        tell(given)


def run_cells(given: argparse.Namespace, rest: list[str]) -> None:
    cells = make_cells(given.models, given.tasks, given.seeds, rest, TASKS)
    sys.exit(run_grid(cells, given.devices, given.dry_run, TASKS, find_files))


def tell(given: argparse.Namespace) -> None:
    ckpt_dir = getattr(given, "ckpt_dir", Path(Settings.model_fields["ckpt_dir"].default))
    if given.what == "compare":
        models = (given.models[0], given.models[1])
        tasks = [] if given.tasks == "all" else list_of(given.tasks)
        print(show(*compare(ckpt_dir, models, tasks, given.view, TASKS), models, given.view))
    else:
        print(write_report(ckpt_dir, TASKS, Published.read(PUBLISHED), ROOT / "config"))


if __name__ == "__main__":
    run_command(main)
