"""What the measurements of speed share: flags, ways of doing the same that take turns, and a report of their figures.

Each way runs in its own process and works while the others sleep, so that a machine that slows down slows down all of them.
(In one process, their thread pools would interfere.)
"""

import argparse
import json
import logging
import multiprocessing
import platform
import re
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.metadata import version
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch

from processor.definition import TASKS
from src.model.device import choose_type, device_name, peak_memory, synchronize
from src.settings.layers import load_settings
from src.settings.schema import Settings

SPAWN = multiprocessing.get_context("spawn")
PACKAGES = ("torch", "transformers", "tokenizers", "accelerate")

Figures = Mapping[str, dict[str, Any]]  # way -> name -> figure


def make_parser(description: str | None) -> argparse.ArgumentParser:
    """Return a parser with the flags that all measurements have."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model_name_or_path", required=True, help="folder that benchmarks/models.py writes, or one like it")
    parser.add_argument("--model", default="", help="the model's name in the report")
    parser.add_argument("--data_dir", default="data")
    parser.add_argument("--out", type=Path, help="JSON file to write")
    return parser


def parse(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """Return the arguments of the command line, and turn off what the project logs."""
    arguments = parser.parse_args()
    if not Path(arguments.model_name_or_path, "config.json").is_file():
        parser.error(f"{arguments.model_name_or_path}: config.json is missing")
    logging.disable(logging.WARNING)
    return arguments


def flags_of(arguments: argparse.Namespace, **changes: str) -> list[str]:
    """Return the flags of a run with random weights and the given settings."""
    given = {name: getattr(arguments, name) for name in ("model_name_or_path", "data_dir")}
    given |= {"from_scratch": "true", "do_lower_case": "false"} | changes
    return [word for name, value in given.items() for word in (f"--{name}", value)]


def settings_of(task: str, arguments: argparse.Namespace, **changes: str) -> Settings:
    """Return the settings of a run with random weights: those of the task, and changes of them."""
    return load_settings(["--task", task, *flags_of(arguments, **changes)], script="benchmark", tasks=TASKS)


class Turns:
    """The turns of a way, as its process sees them."""

    def __init__(self, pipe: Connection) -> None:
        self.pipe = pipe

    def begin(self, device: torch.device, **facts: Any) -> None:
        """Report that everything is loaded, with facts about it, and wait for the first turn."""
        self.device = device
        self._report(facts)

    def done(self, work: int, excluded: float = 0.0) -> None:
        """Report how much has been done, such as tokens or rows, and wait for the next turn; exit if there is none.

        excluded: seconds that do not count.
        """
        synchronize(self.device)
        seconds = time.perf_counter() - self.started - excluded
        self._report({"seconds": seconds, "work": work, "peak_bytes": peak_memory(self.device)})

    def _report(self, message: dict[str, Any]) -> None:
        self.pipe.send(message)
        try:
            self.pipe.recv()
        except EOFError:
            sys.exit()
        self.started = time.perf_counter()


class Way:
    """A way, as the process that measures sees it: the facts that it has reported, and its turns."""

    def __init__(self, serve: Callable[..., None], arguments: Sequence[Any]) -> None:
        self.pipe, other = SPAWN.Pipe()
        SPAWN.Process(target=_serve, args=(serve, *arguments, Turns(other))).start()
        other.close()
        self.facts: dict[str, Any] = {}
        self.turns: list[dict[str, Any]] = []

    def receive(self) -> dict[str, Any]:
        """Wait for what the process reports next, and return it."""
        try:
            return dict(self.pipe.recv())
        except EOFError:
            sys.exit("the process of a way ended early; see its output above")

    def figures(self, unit: str = "") -> dict[str, float]:
        """Return the time of a turn and, with the unit of the work, how much was done per second; in four digits."""
        seconds = [turn["seconds"] for turn in self.turns]
        figures = {"median_s": statistics.median(seconds), "mean_s": statistics.mean(seconds)}
        if unit:
            figures[f"{unit}_per_s"] = sum(turn["work"] for turn in self.turns) / sum(seconds)
        return {name: float(f"{figure:.4g}") for name, figure in figures.items()}


def _serve(serve: Callable[..., None], *arguments: Any) -> None:
    logging.disable(logging.WARNING)
    serve(*arguments)


def take_turns(
    serve: Callable[..., None], names: Iterable[str], number: int, *arguments: Any, warm_up: int = 0
) -> dict[str, Way]:
    """Call serve(name, *arguments, turns) in a process for each way, and let them take so many turns.

    There are `warm_up` turns before, which are not recorded.
    """
    ways = {name: Way(serve, (name, *arguments)) for name in names}
    try:
        for way in ways.values():
            way.facts = way.receive()
        for turn in range(-warm_up, number):
            for way in ways.values():
                way.pipe.send("work")
                done = way.receive()
                way.turns += [done] if turn >= 0 else []
    finally:
        for way in ways.values():
            way.pipe.close()
    return ways


def print_figures(title: str, figures: Figures, column: str, ratios: Sequence[tuple[str, str]], **best: str) -> dict[str, float]:
    """Print a table, and ratios of a column between pairs of ways, and return the ratios. best: a name for one of the ways."""
    columns = list(next(iter(figures.values())))
    print(f"\n{title}\n\n| way | {' | '.join(columns)} |\n| :--- |" + " ---: |" * len(columns))
    for name, row in figures.items():
        print(f"| {name} | " + " | ".join(f"{figure:,}" for figure in row.values()) + " |")
    value = {name: row[column] for name, row in figures.items()}
    value |= {name: value[way] for name, way in best.items()}
    result = {f"{x} / {y}": round(value[x] / value[y], 2) for x, y in ratios if x in value and y in value}
    print(f"\n{column}: " + ", ".join(f"{pair} {ratio}" for pair, ratio in result.items()), flush=True)
    return result


def write_report(arguments: argparse.Namespace, **content: Any) -> None:
    """Write the JSON file of --out, if it is given: the content, the name of the model, and what the machine is."""
    device, cpus = torch.device(choose_type(no_cuda=False)), Path("/proc/cpuinfo")
    processors = re.findall(r"^model name\s*: (.*)", cpus.read_text() if cpus.exists() else "", re.MULTILINE)
    machine = {
        "processor": f"{len(processors)} x {processors[0]}" if processors else platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
        "gpu": None if device.type == "cpu" else device_name(device),
        "python": platform.python_version(),
        **{package: version(package) for package in PACKAGES},
    }
    if arguments.out:
        report = {"machine": machine, "model": arguments.model, **content}
        arguments.out.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
