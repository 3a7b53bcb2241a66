"""Measure how fast texts are classified, compared with what a user would use instead: ways that take turns with the same rows.

    python3 benchmarks/predict_speed.py --model_name_or_path FOLDER --data_dir data --out benchmarks/results/my-machine.json

The weights are random, the rows those of NSMC's test file. The ways:

pipeline    transformers' pipeline, at the best of several batch sizes
sorted      a loop: tokenize all rows, sort them by length, pad batches of 64 to their longest row
scoring     this project's evaluation, with building the features
predict.py  the command, from a file to a file, less the time for a file of one row

Seconds are those from texts to logits or results; loading is not counted. Where there is a GPU all use it, pipeline and loop with
weights in bf16 if the GPU supports it.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from src.common.cli import prepare_torch, run_command

prepare_torch()

import numpy as np
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline

from benchmarks.measure import Turns, flags_of, make_parser, parse, print_figures, settings_of, take_turns, write_report
from processor.definition import TASKS
from processor.kinds import KINDS
from processor.seq_cls import read_examples
from src.model.device import DEVICE_TYPES, choose_type
from src.pipeline import find_files
from src.runs.files import read_settings
from src.training.evaluate import predict
from src.training.finetune import load_checkpoint

TASK = TASKS["nsmc"]
LENGTH = 128
PIPELINES = ("pipeline 8", "pipeline 32", "pipeline 128")  # with their batch sizes
RATIOS = (("predict.py", "pipeline"), ("scoring", "pipeline"), ("scoring", "sorted"))

Classify = Callable[[Sequence[str]], object]


def main() -> None:
    """Measure, print a table, write the JSON file."""
    parser = make_parser(__doc__)
    parser.add_argument("--rows", type=int, default=50_000, help="number of rows, at most those of the file")
    parser.add_argument("--blocks", type=int, default=10, help="number of turns of each way")
    arguments = parse(parser)
    settings = settings_of("nsmc", arguments)
    texts = [example.texts[0] for example in read_examples(find_files(settings, TASK)["test"].path, TASK)[0]][: arguments.rows]
    blocks = [block.tolist() for block in np.array_split(np.array(texts, dtype=object), arguments.blocks)]
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = make_checkpoint(arguments, Path(folder))
        ways = take_turns(serve, [*PIPELINES, *MAKERS], len(blocks), checkpoint, blocks)
    figures = {name: way.figures("rows") for name, way in ways.items()}
    best = max(PIPELINES, key=lambda name: figures[name]["rows_per_s"])
    start_up = round(ways["predict.py"].facts["start_up_s"], 2)
    title = f"{len(texts):,} rows in {len(blocks)} blocks; predict.py starts in {start_up} s"
    ratios = print_figures(title, figures, "rows_per_s", RATIOS, pipeline=best)
    write_report(arguments, rows=len(texts), start_up_s=start_up, ways=figures, ratios=ratios)


def make_checkpoint(arguments: argparse.Namespace, folder: Path) -> Path:
    """Train a model with random weights for one update and return its checkpoint."""
    changes = {"max_steps": "1", "train_batch_size": "8", "do_eval": "false", "ckpt_dir": str(folder), "output_dir": "run"}
    flags = ["--task", "nsmc", *flags_of(arguments, max_seq_len=str(LENGTH), **changes)]
    subprocess.run([sys.executable, "run_seq_cls.py", *flags], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    return folder / "run" / "checkpoint-1"


def serve(name: str, checkpoint: Path, blocks: Sequence[Sequence[str]], turns: Turns) -> None:
    """Classify in one way, in this process."""
    device, start_up = torch.device(choose_type(no_cuda=False)), 0.0
    kind, _, size = name.partition(" ")
    classify = by_pipeline(checkpoint, device, int(size)) if size else MAKERS[kind](checkpoint, device)
    started = time.perf_counter()
    classify(blocks[0][:1])  # warm-up
    if kind == "predict.py":
        start_up = time.perf_counter() - started
    turns.begin(device, start_up_s=start_up)
    for block in blocks:
        classify(block)
        turns.done(len(block), excluded=start_up)


def dtype_on(device: torch.device) -> torch.dtype:
    """Return the precision of pipeline and loop."""
    return torch.bfloat16 if DEVICE_TYPES[device.type].has_fast_bf16() else torch.float32


def by_pipeline(checkpoint: Path, device: torch.device, batch_size: int) -> Classify:
    """Classify with transformers' pipeline."""
    run: Any = pipeline("text-classification", model=str(checkpoint), device=device, dtype=dtype_on(device))
    return lambda texts: run(list(texts), batch_size=batch_size, truncation=True, max_length=LENGTH)


def by_sorted_loop(checkpoint: Path, device: torch.device) -> Classify:
    """Classify with a loop over padded batches of rows of similar length."""
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    model = AutoModelForSequenceClassification.from_pretrained(checkpoint, dtype=dtype_on(device)).to(device).eval()

    def batches(texts: Sequence[str]) -> Iterator[Any]:
        encoded = tokenizer(list(texts), truncation=True, max_length=LENGTH)
        order = np.argsort([-len(ids) for ids in encoded["input_ids"]], kind="stable")
        for rows in np.array_split(order, -(-len(order) // 64)):
            yield tokenizer.pad({name: [values[row] for row in rows] for name, values in encoded.items()}, return_tensors="pt")

    def classify(texts: Sequence[str]) -> object:
        with torch.inference_mode():
            return torch.cat([model(**batch.to(device)).logits for batch in batches(texts)]).float().cpu()

    return classify


def by_scoring(checkpoint: Path, device: torch.device) -> Classify:
    """Classify with this project."""
    settings = read_settings(checkpoint)
    tokenizer, task_model = load_checkpoint(settings, TASK, checkpoint)
    inputs = KINDS[TASK.kind].inputs(TASK, tokenizer, settings)
    budget = settings.evaluation_budget
    return lambda texts: predict(task_model, inputs.encode([inputs.example([text]) for text in texts]), budget)


def by_command(checkpoint: Path, device: torch.device) -> Classify:
    """Classify with predict.py."""

    def classify(texts: Sequence[str]) -> object:
        with tempfile.NamedTemporaryFile("w", encoding="utf-8") as lines, tempfile.NamedTemporaryFile() as results:
            lines.writelines(json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in texts)
            lines.flush()
            files = ["--checkpoint", str(checkpoint), "--input", lines.name, "--output", results.name]
            return subprocess.run([sys.executable, "predict.py", *files], cwd=ROOT, check=True)

    return classify


MAKERS = {"sorted": by_sorted_loop, "scoring": by_scoring, "predict.py": by_command}


if __name__ == "__main__":
    run_command(main)
