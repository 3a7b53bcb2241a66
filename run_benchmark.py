"""Build the benchmark table: run models x tasks x seeds, report their scores, compare two models."""

import sys

if __name__ == "__main__":
    if sys.flags.safe_path:  # with PYTHONSAFEPATH, the folder of this file is not searched
        sys.path.insert(0, __file__.rpartition("/")[0] or ".")
    from src.common import start

    start.begin()

import argparse
import json
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from processor.definition import TASKS, read_task_file, read_tasks, recorded_tasks
from processor.own_task import FLAGS
from src.common.cli import Parser, run_command
from src.common.errors import ConfigError
from src.grid.cells import GridRequest, make_cells, make_trial_cells, split_list
from src.grid.schedule import run_grid
from src.grid.tune.space import read_space
from src.pipeline import find_files
from src.report.compare import compare, format_comparisons
from src.report.published import SHOWN, Published
from src.report.read_runs import folders_to_read
from src.report.record import VIEWS
from src.report.report import Request, write_report
from src.runs.grid_folder import FOLDER, GRID
from src.settings.aliases import refuse_unknown
from src.settings.command_line import config_dir_of, find_tasks, parse_command_line
from src.settings.schema import Settings, default_of, is_task_file

if TYPE_CHECKING:
    from src.grid.ray_pool import Cluster

ROOT = Path(__file__).resolve().parent
PUBLISHED = ROOT / "src" / "report" / "published_scores.json"
TASKS_HELP = f"""comma-separated names of tasks ({", ".join(TASKS)}, and those of --config_dir), task files (.json) and
suites; default: all, which means the suite koelectra"""
WITH_TEXTS_HELP = """show the texts of all tasks in results.html, also of those whose definition does not say that the licence of
the corpus allows it (texts_may_be_shown); passing the page on is then your responsibility"""
MERGE_HELP = "other folders of runs, each the --ckpt_dir of somebody else or of another machine, to read as well"
TUNE_HELP = "search for the best settings of every model on every task, on dev; needs the package of requirements-tune.txt"
RUN_EPILOG = """
All other flags are settings of the runs, such as --max_steps 100 --data_dir data/sample (see python3 run_seq_cls.py --help).
Each run has the folder ckpt/benchmark/<model>/<task>/seed-<n>/. Finished runs are skipped, interrupted runs resume, and failed
runs are tried again.
"""


TUNE_EPILOG = """
All other flags are settings of the trials; those that are given are not searched. The trials are in the folders
ckpt/benchmark/<model>/<task>/tune/trial-<n>/. They are scored on dev alone: the test file is not opened. A search that was
interrupted continues with the same command, and a larger --trials adds to it. The result,
config/tuning/<model>.<task>.json, is for `run --tuned`.
"""


def main() -> None:
    argv = sys.argv[1:]
    if argv[:1] == ["report"] and "compare" in argv:  # `report compare` is the former name of `compare`
        argv.remove("compare")
        argv[0] = "compare"
    parser = make_parser()
    arguments, rest = parser.parse_known_args(argv)
    if rest and arguments.action not in (run, tune):
        refuse_unknown(rest, vars(arguments))
    arguments.action(arguments, rest)


def request_of(arguments: argparse.Namespace, rest: list[str], seeds: str, tuned: bool = False) -> GridRequest:
    """Return what `run` or `tune` is asked for. Raises ConfigError for an invalid task file, and for flags that define a task."""
    if flags := [f"--{flag}" for flag in FLAGS if any(word.split("=")[0] == f"--{flag}" for word in rest)]:
        raise ConfigError(
            f"{', '.join(flags)}: write a task file for --tasks; python3 run_seq_cls.py ... --print_task prints it."
        )
    given, problems = parse_command_line(rest, vars(arguments).keys() - {"action"})
    tasks = dict(read_tasks(config_dir_of(given)))
    for path in (entry for entry in split_list(arguments.tasks) if is_task_file(entry)):
        tasks |= read_task_file(Path(path))
    return GridRequest(
        models=arguments.models,
        tasks=arguments.tasks,
        seeds=seeds,
        rest=rest,
        given=given,
        problems=problems,
        all_tasks=tasks,
        find_files=lambda settings: find_files(settings, tasks[settings.task]),
        devices=arguments.devices,
        tuned=tuned,
        dry_run=arguments.dry_run,
    )


def read_hidden_size(settings: Settings) -> int | None:
    """Return the hidden size of a model, which may be fetched; None if its config does not tell."""
    from src.model.files import ModelFiles  # imports torch

    return getattr(ModelFiles.published(settings).load_config(), "hidden_size", None)


def run(arguments: argparse.Namespace, rest: list[str]) -> None:
    request = request_of(arguments, rest, arguments.seeds, arguments.tuned)
    cells = make_cells(request)
    with cluster_of(arguments) as cluster:
        sys.exit(run_grid(cells, request, cluster))


def tune(arguments: argparse.Namespace, rest: list[str]) -> None:
    request = request_of(arguments, rest, str(arguments.seed))
    space = read_space(arguments.space or request.config_dir / FOLDER / "space.json", request.given)
    if arguments.print_space:
        print(json.dumps(space, indent=2))
        return
    if arguments.trials < 1:
        raise ConfigError(f"--trials {arguments.trials}: should be at least 1.")
    cells = make_trial_cells(request, arguments.dev_ratio)
    try:
        from src.grid.tune.tune import describe_searches, run_searches  # imports Optuna
    except ModuleNotFoundError as error:
        raise ConfigError(f"tune needs Optuna ({error}). Run: pip install -r requirements-tune.txt") from None
    if request.dry_run:
        print(describe_searches(cells, request, space, arguments.trials))
        return
    sys.exit(run_searches(cells, request, space, arguments.trials, read_hidden_size))


def cluster_of(arguments: argparse.Namespace) -> AbstractContextManager["Cluster | None"]:
    """Return the connection to the cluster of --ray, or a context with None."""
    if arguments.ray is None:
        if arguments.gpus_per_run is not None or arguments.cpus_per_run is not None:
            raise ConfigError("--gpus_per_run and --cpus_per_run need --ray, the address of a cluster.")
        return nullcontext()
    if arguments.devices:
        raise ConfigError("--devices cannot be used with --ray: --gpus_per_run says how many GPUs a run gets.")
    from src.grid.ray_pool import connected  # imports Ray

    return connected(arguments.ray, 1 if arguments.cpus_per_run is None else arguments.cpus_per_run, arguments.gpus_per_run)


def report(arguments: argparse.Namespace, rest: list[str]) -> None:
    request = Request(arguments.ckpt_dir, arguments.merge, arguments.published, arguments.with_texts)
    tasks = recorded_tasks(*(folder / GRID for folder in (request.ckpt_dir, *request.merged)))
    print(write_report(request, tasks, Published.read(PUBLISHED), ROOT / "config"))


def compare_models(arguments: argparse.Namespace, rest: list[str]) -> None:
    first, second = arguments.models
    folders = folders_to_read(arguments.ckpt_dir, arguments.merge)
    tasks = recorded_tasks(*(folder / GRID for folder in folders))
    problems: list[str] = []
    chosen = [] if arguments.tasks == "all" else list(find_tasks(split_list(arguments.tasks), tasks, "--tasks", problems))
    if problems:
        raise ConfigError("\n".join(problems))
    comparisons, cautions = compare(folders, (first, second), chosen, arguments.view, tasks)
    print(format_comparisons(comparisons, cautions, (first, second), arguments.view))


def add_flags_of_run(parser: Parser) -> None:
    add = parser.add_argument
    add("--models", required=True, help="comma-separated names in config/, JSON files, model folders or hub ids")
    add("--tasks", default="all", help=TASKS_HELP)
    add("--seeds", default="1,2,3,4,5", help="comma-separated numbers; default: %(default)s")
    add("--tuned", action="store_true", help="with the settings that tune has found, as <model>@tuned")
    add("--devices", default="", help="comma-separated GPU numbers, or cpu: one run at a time on each")
    add("--ray", metavar="ADDRESS", help="run on a Ray cluster: auto, or the HOST:PORT of its head")
    add("--gpus_per_run", type=float, metavar="G", help="with --ray; default: 1 if the cluster has GPUs, else 0")
    add("--cpus_per_run", type=int, metavar="C", help="with --ray; default: 1")
    add("--dry_run", action="store_true", help="print the commands of the runs and an estimate of their cost")


def add_flags_of_tune(parser: Parser) -> None:
    add = parser.add_argument
    add("--models", default="", help="as for run")
    add("--tasks", default="all", help="as for run; default: all")
    add("--trials", type=int, default=30, help="number of trials in total; default: %(default)s")
    add("--space", type=Path, metavar="FILE", help="the search space; default: tuning/space.json in --config_dir")
    add("--print_space", action="store_true", help="print the search space and exit")
    add("--seed", type=int, default=default_of("seed"), help="of the search and its trials; default: %(default)s")
    add("--dev_ratio", metavar="SHARE", help="share of train to hold out as dev for tasks without a dev file")
    add("--devices", default="", help="as for run")
    add("--dry_run", action="store_true", help="print what would be run")


def make_parser() -> Parser:
    parser = Parser(prog="run_benchmark.py", description=__doc__, allow_abbrev=False)
    commands = parser.add_subparsers(metavar="run | tune | report | compare", required=True)
    for action, add_flags, about, epilog in (
        (run, add_flags_of_run, "run every model on every task with every seed, each run in a process of its own", RUN_EPILOG),
        (tune, add_flags_of_tune, TUNE_HELP, TUNE_EPILOG),
    ):
        formatter = argparse.RawDescriptionHelpFormatter
        command = commands.add_parser(
            action.__name__,
            help=about,
            description=f"{about[0].upper()}{about[1:]}.",
            epilog=epilog,
            formatter_class=formatter,
            allow_abbrev=False,
        )
        command.set_defaults(action=action)
        add_flags(command)

    reporter = commands.add_parser(
        "report",
        help="write results.md, results.csv and results.html",
        description="Write results.md, results.csv and, with the packages of requirements-report.txt, results.html from the run "
        "folders.",
        allow_abbrev=False,
    )
    reporter.set_defaults(action=report)
    published_help = (
        "which published rows to show: every one, those of KoELECTRA and Soongsil-BERT, or none; default: %(default)s"
    )
    reporter.add_argument("--published", choices=SHOWN, default=SHOWN[0], help=published_help)
    reporter.add_argument("--with_texts", action="store_true", help=WITH_TEXTS_HELP)

    comparer = commands.add_parser(
        "compare",
        help="test whether one of two models is significantly better",
        description="Test whether one of two models is significantly better, by a paired bootstrap over test rows and seeds.",
        allow_abbrev=False,
    )
    comparer.set_defaults(action=compare_models)
    comparer.add_argument("models", nargs=2, metavar="MODEL", help="name of a model in the table")
    comparer.add_argument("--tasks", default="all", help="comma-separated list; default: all on which both models have runs")
    comparer.add_argument("--view", choices=VIEWS, default=VIEWS[0], help="which checkpoints to compare; default: %(default)s")
    ckpt_dir = Path(Settings.model_fields["ckpt_dir"].default)
    for command in (reporter, comparer):
        command.add_argument("--merge", nargs="+", type=Path, default=[], metavar="DIR", help=MERGE_HELP)
        command.add_argument("--ckpt_dir", type=Path, default=ckpt_dir, help="folder of all runs; default: %(default)s")
    return parser


if __name__ == "__main__":
    run_command(main)
