"""Build the whole table: run models x tasks x seeds, report what they score, compare two models."""

import argparse
import sys
from pathlib import Path

from processor import TASKS
from processor.download import find_files
from src.cli import Parser, run_command
from src.errors import ConfigError
from src.grid.cells import list_of, make_cells
from src.grid.compare import compare, show
from src.grid.published import Published
from src.grid.record import VIEWS
from src.grid.report import write_report
from src.grid.schedule import run_grid
from src.progress import start_logging
from src.settings import Settings

ROOT = Path(__file__).resolve().parent
CKPT_DIR = Settings.model_fields["ckpt_dir"].default
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
    report = commands.add_parser(
        "report",
        usage="run_benchmark.py report [--ckpt_dir DIR]\n"
        "       run_benchmark.py report compare MODEL MODEL [--tasks TASKS] [--view VIEW] [--ckpt_dir DIR]",
        help="build results.md and results.csv from what has been run, or test whether one model is better than another",
        description="Build results.md and results.csv from what has been run; or, by compare, test whether one model is better.",
        allow_abbrev=False,
    )
    report.add_argument("words", nargs="*", metavar="compare MODEL MODEL", help="two models, by their names in the grid")
    report.add_argument("--tasks", default="all", help="compare: with commas between; default: all of which both have runs")
    report.add_argument("--view", choices=VIEWS, default=VIEWS[0], help="compare: which checkpoints; default: %(default)s")
    report.add_argument("--ckpt_dir", type=Path, default=Path(CKPT_DIR), help="folder of all runs; default: %(default)s")
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
    if not given.words:
        print(write_report(given.ckpt_dir, TASKS, Published.read(PUBLISHED), ROOT / "config"))
        return
    what, *models = given.words
    if what != "compare" or len(models) != 2:
        raise ConfigError(f"report {' '.join(given.words)}: say report alone, or report compare MODEL MODEL. See report --help.")
    pair, tasks = (models[0], models[1]), [] if given.tasks == "all" else list_of(given.tasks)
    print(show(*compare(given.ckpt_dir, pair, tasks, given.view, TASKS), pair, given.view))


if __name__ == "__main__":
    run_command(main)
