"""Measure how fast training is, compared with what a user would use instead: five ways to make updates, which take turns.

    python3 benchmarks/train_speed.py --model_name_or_path FOLDER --out benchmarks/results/my-machine.json

FOLDER contains config.json and the tokenizer's files. The weights are random. The ways:

a  the original: every row padded to max_seq_len, fp32, AdamW without foreach or fusion, the loss read after every update
b  Trainer of transformers, batches padded to their longest row; the same batches as d
c  Trainer at its best: rows grouped by length, fused AdamW, compiled on a GPU
d  this project
e  this project, --batching bucketed

Each way runs in its own process and makes one update while the others sleep, so that a machine that slows down slows down all.
(In one process the thread pools of five ways would interfere.) Seconds are those of whole updates: batches, optimizer and all.
Tokens do not include padding. `share` is the rate of floating-point operations that real tokens need, divided by the rate of a
large matrix product on the same machine. Memory is that of the GPU, or else the peak of the process.
"""

import argparse
import json
import logging
import statistics
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch

from benchmarks.machine import describe_machine, matrix_rate, print_table
from benchmarks.turns import Turns, Way, send
from benchmarks.ways import WARM_UP, WAYS, Case
from processor.definition import TASKS
from src.common.cli import run_command
from src.model.device import choose_type

CASES = ("hate-speech", "paws", "naver-ner", "korquad")
RATIOS = (("d", "a"), ("e", "a"), ("d", "b"), ("e", "c"), ("d", "c"))


def main() -> None:
    """Measure, print a table per case, write the JSON file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model_name_or_path", required=True, help="folder with config.json and the tokenizer's files")
    parser.add_argument("--model", default="", help="the model's name in the report")
    parser.add_argument("--cases", default=",".join(CASES), help="tasks, separated by commas")
    parser.add_argument("--ways", default="abcde")
    parser.add_argument("--steps", type=int, default=50, help="number of measured updates per way, 50 at most")
    parser.add_argument("--data_dir", default="data")
    parser.add_argument("--train_batch_size", help="default: as published")
    parser.add_argument("--mixed_precision", default="auto")
    parser.add_argument("--torch_compile", default="auto")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help="JSON file to write")
    arguments = parser.parse_args()
    cases = arguments.cases.split(",")
    if unknown := [*(set(cases) - set(TASKS)), *(set(arguments.ways) - set(WAYS))]:
        parser.error(f"{', '.join(unknown)}: cases are {', '.join(TASKS)}; ways are {', '.join(WAYS)}")
    if not Path(arguments.model_name_or_path, "config.json").is_file():
        parser.error(f"{arguments.model_name_or_path}: config.json is missing")
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
    """Measure every way on one task; print and return the figures."""
    command = [sys.executable, __file__, *sys.argv[1:], "--serve"]
    ways = {name: Way(name, [*command, f"{task} {name}"]) for name in arguments.ways}
    for way in ways.values():
        way.wait_until_ready()
    for _ in range(WARM_UP + arguments.steps):
        for way in ways.values():
            way.take_turn()
    for way in ways.values():
        way.end()
    facts = next(iter(ways.values())).facts
    dtype = torch.bfloat16 if facts["precision"] == "bf16" else torch.float32
    rate = matrix_rate(torch.device(choose_type(no_cuda=False)), dtype)
    figures = {name: figures_of(way, rate) for name, way in ways.items()}
    speed = {name: figure["tokens_per_s"] for name, figure in figures.items()}
    ratios = {f"{x}/{y}": round(speed[x] / speed[y], 2) for x, y in RATIOS if x in speed and y in speed}
    columns = ["way", "s, median", "s, mean", "tokens/s", "peak MB", "share"]
    rows = [
        [
            name,
            figure["median_s"],
            figure["mean_s"],
            f"{figure['tokens_per_s']:,}",
            figure["peak_bytes"] // 2**20,
            figure["share"],
        ]
        for name, figure in figures.items()
    ]
    print_table(
        f"{task}: {facts['rows']} rows of at most {facts['length']} tokens, precision {facts['precision']}", columns, rows
    )
    print("\ntokens/s: " + ", ".join(f"{name} {value}" for name, value in ratios.items()), flush=True)
    return facts | {"ways": figures, "ratios": ratios, "matrix_operations_per_s": round(rate)}


def figures_of(way: Way, rate: float) -> dict[str, Any]:
    """Return the figures of the updates after the warm-up. rate: floating-point operations per second of a matrix product."""
    seconds = way.seconds[WARM_UP:]
    speed = sum(way.work[WARM_UP:]) / sum(seconds)
    return {
        "median_s": round(statistics.median(seconds), 4),
        "mean_s": round(statistics.mean(seconds), 4),
        "tokens_per_s": round(speed),
        "peak_bytes": way.peak,
        "share": round(speed * way.facts["operations_per_token"] / rate, 3),
    }


def serve(task: str, way: str, arguments: argparse.Namespace) -> None:
    """Run one way in this process."""
    case = Case(task, arguments)
    facts = {"rows": case.settings.train_batch_size, "length": case.settings.max_seq_len, "precision": case.precision}
    send(facts | {"operations_per_token": round(case.operations_per_token())})
    turns = Turns(case.device)
    turns.wait()
    WAYS[way](case, turns)


if __name__ == "__main__":
    run_command(main)
