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
import importlib
import json
import logging
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import torch
from torch import nn
from transformers import (
    DataCollatorForTokenClassification,
    DataCollatorWithPadding,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    get_linear_schedule_with_warmup,
)

from benchmarks.machine import describe_machine, matrix_rate, print_table, process_peak
from processor import TASKS
from src.batches import Collator, Features, epoch_order, slices
from src.config import load_settings
from src.device import start_device
from src.heads import HEADS, TaskModel
from src.models import load_model, load_tokenizer, uses_segments
from src.settings import Settings
from src.stages import task_model
from src.training import Training

CASES = ("hate-speech", "paws", "naver-ner", "korquad")
WARM_UP = 2  # updates of each way that do not count
RATIOS = (("d", "a"), ("e", "a"), ("d", "b"), ("e", "c"), ("d", "c"))
MARK = "@ "  # before what a way has to say


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
    logging.disable(logging.WARNING)
    if arguments.serve:
        task, way = arguments.serve.split()
        return serve(task, way, arguments)
    report: dict[str, Any] = {"machine": describe_machine(), "model": arguments.model, "steps": arguments.steps, "cases": {}}
    for task in arguments.cases.split(","):
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
                sys.exit("a way ended before its time")
        return dict(json.loads(line.removeprefix(MARK)))


class Turns:
    """The turns of a way, seen from its process: it waits for each and tells what was done in it."""

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def wait(self) -> None:
        """Wait for the next turn. Ends the process where there is none."""
        if not sys.stdin.readline():
            peak = torch.cuda.max_memory_allocated() if self.device.type == "cuda" else process_peak()
            tell({"peak_bytes": peak})
            sys.exit()
        self.started = time.perf_counter()

    def done(self, tokens: int) -> None:
        """An update of so many tokens is done; wait for the next turn."""
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        tell({"seconds": time.perf_counter() - self.started, "tokens": tokens})
        self.wait()


def serve(task: str, way: str, arguments: argparse.Namespace) -> None:
    """Be the process of one way."""
    case = Case(task, arguments)
    facts = {"rows": case.settings.train_batch_size, "length": case.settings.max_seq_len, "precision": case.precision}
    tell(facts | {"operations_per_token": round(case.operations_per_token())})
    turns = Turns(case.device)
    turns.wait()
    WAYS[way](case, turns)


def tell(what: Mapping[str, Any]) -> None:
    """Print a line for the process that measures."""
    print(MARK + json.dumps(what), flush=True)


class Case:
    """A task's settings, features and tokenizer, as every way needs them."""

    def __init__(self, task: str, arguments: argparse.Namespace) -> None:
        self.arguments, self.task = arguments, TASKS[task]
        self.settings = self.settings_with()
        accelerator = start_device(self.settings)
        self.device, self.precision = accelerator.device, str(accelerator.mixed_precision)
        self.tokenizer = load_tokenizer(self.settings, None, takes_words=HEADS[self.task.output_mode].sees_words)
        script = importlib.import_module(self.task.script.removesuffix(".py"))
        file = script.find_files(self.settings)["train"]
        features: Features = script.load_split("train", file, self.settings, self.task, self.tokenizer).features
        # (c) sorts so many rows at a time and takes the long ones first: measured is one such round, with all lengths in it.
        rows = 4 * arguments.steps * self.settings.train_batch_size
        chosen = np.random.default_rng(0).permutation(len(features))[:rows]
        self.features = features.subset(np.sort(chosen))  # type: ignore[attr-defined]

    def settings_with(self, **changes: str) -> Settings:
        """The settings of one way: the task's own, from random weights, for as many updates as are measured."""
        arguments = self.arguments
        given = {
            "model_name_or_path": arguments.model_name_or_path,
            "from_scratch": "true",
            "do_lower_case": "false",
            "data_dir": arguments.data_dir,
            "max_steps": str(WARM_UP + arguments.steps),
            "mixed_precision": arguments.mixed_precision,
            "torch_compile": arguments.torch_compile,
        } | changes
        if arguments.train_batch_size:
            given["train_batch_size"] = arguments.train_batch_size
        task = next(name for name, row in TASKS.items() if row is self.task)
        flags = [word for name, value in given.items() for word in (f"--{name}", value)]
        return load_settings(["--task", task, *flags], script="benchmark", tasks=list(TASKS))

    def batches(self) -> list[np.ndarray]:
        """The rows of each update, those of way d."""
        settings, size = self.settings, self.settings.train_batch_size
        epochs = range(-(-settings.max_steps * size // len(self.features)))
        return [rows for epoch in epochs for rows in slices(epoch_order(len(self.features), settings.seed, epoch), size)]

    def model(self) -> Any:
        """A model of random weights, always the same."""
        torch.manual_seed(0)
        return load_model(self.settings, self.task.output_mode, self.task.labels).train()

    def operations_per_token(self) -> float:
        """Floating-point operations that training needs for a real token, forward and twice that backward.

        Two for every weight of a linear layer of the encoder, and for queries with keys and scores with values four times the
        hidden size for every token of the same row.
        """
        model = self.model()
        linear = sum(part.weight.numel() for part in model.base_model.modules() if isinstance(part, nn.Linear))
        lengths = self.features.lengths
        seen = (lengths.astype(np.float64) ** 2).sum() / lengths.sum()
        config: Any = model.config
        return 3.0 * (2 * linear + 4 * config.num_hidden_layers * config.hidden_size * seen)


# -- the ways ----------------------------------------------------------------------------------------------------------------


def original(case: Case, turns: Turns) -> None:
    """(a) A loop as the original's."""
    settings = case.settings_with(padding="max_length", torch_compile="false", mixed_precision="no")
    start_device(settings)
    model = case.model().to(case.device)
    pad_token_id = getattr(model.config, "pad_token_id", None) or 0
    collate = Collator(pad_token_id, uses_segments(model.config), case.device, settings.max_seq_len)
    padded = TaskModel(model, collate, HEADS[case.task.output_mode], settings)
    optimizer = torch.optim.AdamW(model.parameters(), lr=settings.learning_rate, foreach=False, fused=False)
    schedule = get_linear_schedule_with_warmup(optimizer, 0, settings.max_steps)
    for rows in case.batches():
        batch = padded.collate(case.features, rows)
        loss = padded.head.summed_loss(padded.logits(batch), batch.labels) / batch.items
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), settings.max_grad_norm)
        optimizer.step()
        schedule.step()
        model.zero_grad()
        loss.item()
        turns.done(batch.tokens)


def ours(batching: str) -> Callable[[Case, Turns], None]:
    """(d, e) This project's training."""

    def way(case: Case, turns: Turns) -> None:
        settings = case.settings_with(batching=batching)
        accelerator = start_device(settings)
        training = Training(task_model(case.model(), settings, case.task, accelerator), case.features, settings, accelerator)
        while True:
            before = training.meter.total_tokens
            training.advance()
            turns.done(training.meter.total_tokens - before)

    return way


def trainer(**options: Any) -> Callable[[Case, Turns], None]:
    """(b, c) The Trainer."""

    def way(case: Case, turns: Turns) -> None:
        on_gpu = case.device.type == "cuda"
        padded = DataCollatorForTokenClassification if HEADS[case.task.output_mode].per_token else DataCollatorWithPadding
        collator, counts = padded(case.tokenizer), []

        def collate(rows: list[Mapping[str, Any]]) -> Any:
            counts.append(sum(len(row["input_ids"]) for row in rows))
            return collator(rows)

        class Turn(TrainerCallback):
            def on_step_end(self, args: Any, state: Any, control: Any, **others: Any) -> None:
                turns.done(counts[state.global_step - 1])  # the last one counted may be of a batch that is made ahead

        class InOrder(Trainer):
            def _get_train_sampler(self, train_dataset: Any = None) -> Any:
                if "train_sampling_strategy" in options:
                    return super()._get_train_sampler(train_dataset)
                return [int(row) for rows in case.batches() for row in rows]

        with tempfile.TemporaryDirectory() as folder:
            set_up = TrainingArguments(
                folder,
                per_device_train_batch_size=case.settings.train_batch_size,
                learning_rate=case.settings.learning_rate,
                max_steps=case.settings.max_steps + 1,
                bf16=case.precision == "bf16",
                fp16=case.precision == "fp16",
                use_cpu=not on_gpu,
                report_to="none",
                save_strategy="no",
                disable_tqdm=True,
                torch_compile="optim" in options and on_gpu,
                **options,
            )
            InOrder(case.model(), set_up, collate, dataset_of(case), callbacks=[Turn()]).train()

    return way


def dataset_of(case: Case) -> list[dict[str, Any]]:
    """The features as a list of examples, as the Trainer takes them."""
    tensors, offsets = case.features.tensors, case.features.tensors["offsets"]
    sliced = {"input_ids": "input_ids", "label_ids": "labels"}
    if uses_segments(case.model().config):
        sliced["token_type_ids"] = "token_type_ids"
    examples: list[dict[str, Any]] = []
    for row in range(len(case.features)):
        span = slice(offsets[row], offsets[row + 1])
        example = {new: tensors[name][span].tolist() for name, new in sliced.items() if name in tensors}
        example |= {name: tensors[name][row].item() for name in ("labels", "start_positions", "end_positions") if name in tensors}
        examples.append(example)
    return examples


WAYS: Mapping[str, Callable[[Case, Turns], None]] = {
    "a": original,
    "b": trainer(),
    "c": trainer(train_sampling_strategy="group_by_length", optim="adamw_torch_fused"),
    "d": ours("shuffled"),
    "e": ours("bucketed"),
}

if __name__ == "__main__":
    main()
