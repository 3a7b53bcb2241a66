"""How fast training is, beside what a user would pick instead: five ways to make updates, which take turns.

    python3 benchmarks/train_speed.py --model_name_or_path FOLDER --out benchmarks/results/my-machine.json

FOLDER holds config.json and the tokenizer's files; the weights are random, the data that of --data_dir. The ways:

a  the original's: every row padded to max_seq_len, fp32, AdamW weight by weight, the loss read after every update
b  the Trainer of Hugging Face, batches padded to their longest row; the same batches as d
c  the same at its best: rows grouped by length, fused AdamW, compiled on a GPU
d  this project
e  this project, --batching bucketed

Each way has a process of its own and makes one update at a time while the others sleep, so that a machine that gets slower gets
slower for all. (In one process the thread pools of five ways get into each other's way.) Seconds are of whole updates: batches,
optimizer and all. Tokens are real ones. `share` holds the floating-point operations that real tokens need against the rate of a
large matrix product on the same machine. Memory is the GPU's, or else the peak of the process.
"""

import argparse
import json
import logging
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch

from benchmarks.machine import describe_machine, matrix_rate, print_table
from benchmarks.ways import MARK, WARM_UP, WAYS, Case, Turns, tell
from processor import TASKS
from src.cli import run_command

CASES = ("hate-speech", "paws", "naver-ner", "korquad")
RATIOS = (("d", "a"), ("e", "a"), ("d", "b"), ("e", "c"), ("d", "c"))


def main() -> None:
    """Measure what the command line asks for, print a table a case, write the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model_name_or_path", required=True, help="folder with config.json and the tokenizer's files")
    parser.add_argument("--model", default="", help="what the report calls it")
    parser.add_argument("--cases", default=",".join(CASES), help="tasks, with commas between them")
    parser.add_argument("--ways", default="abcde")
    parser.add_argument("--steps", type=int, default=50, help="updates of each way that count, 50 at most")
    parser.add_argument("--data_dir", default="data")
    parser.add_argument("--train_batch_size", help="not given: as published")
    parser.add_argument("--mixed_precision", default="auto")
    parser.add_argument("--torch_compile", default="auto")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help="a JSON file for the figures")
    arguments = parser.parse_args()
    cases = arguments.cases.split(",")
    if unknown := [*(set(cases) - set(TASKS)), *(set(arguments.ways) - set(WAYS))]:
        parser.error(f"{', '.join(unknown)}: cases are {', '.join(TASKS)}; ways are {', '.join(WAYS)}")
    if not Path(arguments.model_name_or_path, "config.json").is_file():
        parser.error(f"{arguments.model_name_or_path}: no folder with a config.json")
    logging.disable(logging.WARNING)
    if arguments.serve:
        task, way = arguments.serve.split()
        return serve(task, way, arguments)
    report: dict[str, Any] = {"machine": describe_machine(), "model": arguments.model, "steps": arguments.steps, "cases": {}}
    for task in cases:
        report["cases"][task] = measure(task, arguments)
        if arguments.out:
            arguments.out.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


def measure(task: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """The figures of every way on one task, printed, too."""
    ways = {name: Way(task, name) for name in arguments.ways}
    for _ in range(WARM_UP + arguments.steps):
        for way in ways.values():
            way.update()
    for way in ways.values():
        way.end()
    facts = next(iter(ways.values())).facts
    dtype = torch.bfloat16 if facts["precision"] == "bf16" else torch.float32
    rate = matrix_rate(torch.device("cuda" if torch.cuda.is_available() else "cpu"), dtype)
    figures = {name: way.figures(rate) for name, way in ways.items()}
    speed = {name: each["tokens_per_s"] for name, each in figures.items()}
    ratios = {f"{x}/{y}": round(speed[x] / speed[y], 2) for x, y in RATIOS if x in speed and y in speed}
    columns = ["way", "s, median", "s, mean", "tokens/s", "peak MB", "share"]
    rows = [
        [name, each["median_s"], each["mean_s"], f"{each['tokens_per_s']:,}", each["peak_bytes"] // 2**20, each["share"]]
        for name, each in figures.items()
    ]
    print_table(
        f"{task}: {facts['rows']} rows of at most {facts['length']} tokens, precision {facts['precision']}", columns, rows
    )
    print("\ntokens/s: " + ", ".join(f"{name} {value}" for name, value in ratios.items()), flush=True)
    return facts | {"ways": figures, "ratios": ratios, "matrix_operations_per_s": round(rate)}


class Way:
    """The process that makes updates in one way, seen from the one that lets it."""

    def __init__(self, task: str, name: str) -> None:
        self.name = name
        command = [sys.executable, __file__, *sys.argv[1:], "--serve", f"{task} {name}"]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.facts = self._read()
        self.seconds: list[float] = []
        self.tokens: list[int] = []

    def update(self) -> None:
        """Let it make one."""
        assert self.process.stdin
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        done = self._read()
        self.seconds.append(done["seconds"])
        self.tokens.append(done["tokens"])

    def end(self) -> None:
        """Let it go."""
        assert self.process.stdin
        self.process.stdin.close()
        self.peak = self._read()["peak_bytes"]
        self.process.wait()

    def figures(self, rate: float) -> dict[str, Any]:
        """What its updates took, but for the first ones."""
        seconds = self.seconds[WARM_UP:]
        speed = sum(self.tokens[WARM_UP:]) / sum(seconds)
        return {
            "median_s": round(statistics.median(seconds), 4),
            "mean_s": round(statistics.mean(seconds), 4),
            "tokens_per_s": round(speed),
            "peak_bytes": self.peak,
            "share": round(speed * self.facts["operations_per_token"] / rate, 3),
        }

    def _read(self) -> dict[str, Any]:
        assert self.process.stdout
        while not (line := self.process.stdout.readline()).startswith(MARK):  # the Trainer prints what it likes
            if not line:
                sys.exit(f"the process of way {self.name} ended before its time; what it said stands above")
        return dict(json.loads(line.removeprefix(MARK)))


def serve(task: str, way: str, arguments: argparse.Namespace) -> None:
    """Be the process of one way."""
    case = Case(task, arguments)
    facts = {"rows": case.settings.train_batch_size, "length": case.settings.max_seq_len, "precision": case.precision}
    tell(facts | {"operations_per_token": round(case.operations_per_token())})
    turns = Turns(case.device)
    turns.wait()
    WAYS[way](case, turns)


if __name__ == "__main__":
    run_command(main)
