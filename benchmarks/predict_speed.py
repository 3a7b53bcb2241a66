"""Measure how fast texts are classified, compared with what a user would use instead: ways that take turns with the same rows.

    python3 benchmarks/predict_speed.py --model_name_or_path FOLDER --data_dir data --out benchmarks/results/my-machine.json

FOLDER contains config.json and the tokenizer's files. The weights are random, the rows those of NSMC's test file. The ways:

pipeline    transformers' pipeline, at the best of several batch sizes
sorted      a loop: tokenize all rows, sort them by length, pad batches of 64 to their longest row
scoring     this project's evaluation, with building the features
predict.py  the command, from a file to a file, less the time for a file of one row

Each way runs in its own process and works on one block of rows while the others sleep. Seconds are those from texts to logits or
results; loading is not counted. Where there is a GPU all use it, pipeline and loop with weights in bf16 if the GPU supports it.
"""

import argparse
import json
import logging
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import numpy as np
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline

from benchmarks.machine import describe_machine, print_table
from benchmarks.turns import Turns, Way, send
from processor.definition import TASKS
from processor.download import find_files
from processor.kinds import KINDS
from processor.seq_cls import read_examples
from src.common.cli import run_command
from src.model.device import DEVICE_TYPES, choose_type
from src.runs.files import read_settings
from src.settings.layers import load_settings
from src.training.evaluate import predict
from src.training.finetune import load_checkpoint

NAME = "nsmc"
TASK = TASKS[NAME]
LENGTH = 128
BATCH_SIZES = (8, 32, 128)
COMMAND = "predict.py"
RATIOS = ((COMMAND, "pipeline"), ("scoring", "pipeline"), ("scoring", "sorted"))

Classify = Callable[[Sequence[str]], int]  # texts -> number of results


def main() -> None:
    """Measure, print a table, write the JSON file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model_name_or_path", required=True, help="folder with config.json and the tokenizer's files")
    parser.add_argument("--model", default="", help="the model's name in the report")
    parser.add_argument("--data_dir", default="data")
    parser.add_argument("--rows", type=int, default=50_000, help="number of rows, at most those of the file")
    parser.add_argument("--blocks", type=int, default=10, help="number of turns of each way")
    parser.add_argument("--checkpoint", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help="JSON file to write")
    arguments = parser.parse_args()
    if not Path(arguments.model_name_or_path, "config.json").is_file():
        parser.error(f"{arguments.model_name_or_path}: config.json is missing")
    logging.disable(logging.WARNING)
    if arguments.serve:
        return serve(arguments)
    with tempfile.TemporaryDirectory() as folder:
        report = measure(arguments, Path(folder))
    if arguments.out:
        arguments.out.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


def measure(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Measure every way; print and return the figures."""
    checkpoint = make_checkpoint(arguments, folder)
    command = [sys.executable, __file__, *sys.argv[1:], "--checkpoint", str(checkpoint), "--serve"]
    names = [*(f"pipeline {size}" for size in BATCH_SIZES), "sorted", "scoring"]
    blocks = read_blocks(arguments)
    seconds: dict[str, list[float]] = {name: [] for name in [*names, COMMAND]}
    start_up = run_predict(checkpoint, blocks[0][:1], folder)
    ways = [Way(name, [*command, name]) for name in names]
    for way in ways:
        way.wait_until_ready()
    for block in blocks:
        for way in ways:
            way.take_turn()
        seconds[COMMAND].append(run_predict(checkpoint, block, folder) - start_up)
    for way in ways:
        way.end()
        seconds[way.name] = way.seconds
    rows = sum(map(len, blocks))
    figures = {
        name: {"rows_per_s": round(rows / sum(times), 1), "median_s": round(statistics.median(times), 3)}
        for name, times in seconds.items()
    }
    best = max((figures[f"pipeline {size}"]["rows_per_s"], size) for size in BATCH_SIZES)
    speed = {name: figure["rows_per_s"] for name, figure in figures.items()} | {"pipeline": best[0]}
    ratios = {f"{one} / {other}": round(speed[one] / speed[other], 2) for one, other in RATIOS}
    title = f"{rows:,} rows in {len(blocks)} blocks; predict.py starts in {start_up:.1f} s"
    print_table(title, ["way", "rows/s", "s per block, median"], [[name, *figure.values()] for name, figure in figures.items()])
    print("\n" + ", ".join(f"{name} {value}" for name, value in ratios.items()))
    facts = {"machine": describe_machine(), "model": arguments.model, "rows": rows, "start_up_s": round(start_up, 2)}
    return facts | {"ways": figures, "ratios": ratios}


def read_blocks(arguments: argparse.Namespace) -> list[list[str]]:
    """Return the texts of each turn."""
    settings = load_settings(["--task", NAME, *settings_flags(arguments)], script="benchmark", tasks=TASKS)
    texts = [example.texts[0] for example in read_examples(find_files(settings, TASK)["test"].path, TASK)[0]][: arguments.rows]
    return [[texts[row] for row in block] for block in np.array_split(np.arange(len(texts)), arguments.blocks)]


def settings_flags(arguments: argparse.Namespace) -> list[str]:
    """Return the settings of the checkpoint, as flags."""
    given = {
        "model_name_or_path": arguments.model_name_or_path,
        "from_scratch": "true",
        "do_lower_case": "false",
        "data_dir": arguments.data_dir,
        "max_seq_len": str(LENGTH),
    }
    return [word for name, value in given.items() for word in (f"--{name}", value)]


def make_checkpoint(arguments: argparse.Namespace, folder: Path) -> Path:
    """Train a model with random weights for one update and return its checkpoint."""
    one_update = ["--max_steps", "1", "--train_batch_size", "8", "--do_eval", "false"]
    place = ["--ckpt_dir", str(folder), "--output_dir", "run"]
    flags = ["--task", NAME, *settings_flags(arguments), *one_update, *place]
    subprocess.run([sys.executable, "run_seq_cls.py", *flags], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    return folder / "run" / "checkpoint-1"


def run_predict(checkpoint: Path, texts: Sequence[str], folder: Path) -> float:
    """Return the seconds that predict.py takes for these texts."""
    lines, results = folder / "input.jsonl", folder / "output.jsonl"
    lines.write_text("".join(json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in texts), encoding="utf-8")
    started = time.perf_counter()
    files = ["--checkpoint", str(checkpoint), "--input", str(lines), "--output", str(results)]
    subprocess.run([sys.executable, "predict.py", *files], cwd=ROOT, check=True)
    return time.perf_counter() - started


# -- the ways ----------------------------------------------------------------------------------------------------------------


def serve(arguments: argparse.Namespace) -> None:
    """Run one way in this process."""
    name, _, size = arguments.serve.partition(" ")
    device = torch.device(choose_type(no_cuda=False))
    makers = {"pipeline": by_pipeline, "sorted": by_sorted_loop, "scoring": by_scoring}
    classify = makers[name](arguments.checkpoint, device, int(size or 0))
    blocks = read_blocks(arguments)
    classify(blocks[0][:64])  # warm-up
    send({})
    turns = Turns(device)
    turns.wait()
    for block in blocks:
        turns.done(classify(block))
    turns.wait()


def dtype_on(device: torch.device) -> torch.dtype:
    """Return the precision of pipeline and loop."""
    return torch.bfloat16 if DEVICE_TYPES[device.type].has_fast_bf16() else torch.float32


def by_pipeline(checkpoint: Path, device: torch.device, batch_size: int) -> Classify:
    """Classify with transformers' pipeline."""
    run: Any = pipeline("text-classification", model=str(checkpoint), device=device, dtype=dtype_on(device))
    return lambda texts: len(run(list(texts), batch_size=batch_size, truncation=True, max_length=LENGTH))


def by_sorted_loop(checkpoint: Path, device: torch.device, _: int) -> Classify:
    """Classify with a loop over padded batches of rows of similar length."""
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    model = AutoModelForSequenceClassification.from_pretrained(checkpoint, dtype=dtype_on(device)).to(device).eval()

    def batches(texts: Sequence[str]) -> Iterator[Any]:
        encoded = tokenizer(list(texts), truncation=True, max_length=LENGTH)
        order = np.argsort([-len(ids) for ids in encoded["input_ids"]], kind="stable")
        for rows in np.array_split(order, -(-len(order) // 64)):
            yield tokenizer.pad({name: [values[row] for row in rows] for name, values in encoded.items()}, return_tensors="pt")

    def classify(texts: Sequence[str]) -> int:
        with torch.inference_mode():
            logits = [model(**batch.to(device)).logits for batch in batches(texts)]
        return len(torch.cat(logits).float().cpu())

    return classify


def by_scoring(checkpoint: Path, device: torch.device, _: int) -> Classify:
    """Classify with this project."""
    settings = read_settings(checkpoint)
    tokenizer, task_model = load_checkpoint(settings, TASK, checkpoint)
    inputs = KINDS[TASK.kind].inputs(TASK, tokenizer, settings)

    def classify(texts: Sequence[str]) -> int:
        features = inputs.encode([inputs.example([text]) for text in texts])
        return len(predict(task_model, features, settings.evaluation_budget)[0])

    return classify


if __name__ == "__main__":
    run_command(main)
