"""Measure how fast training is, compared with what a user would use instead: five ways to make updates, which take turns.

    python3 benchmarks/train_speed.py --model_name_or_path FOLDER --out benchmarks/results/my-machine.json

The weights are random. The ways:

a  the original: every row padded to max_seq_len, fp32, AdamW without foreach or fusion, the loss read after every update
b  Trainer of transformers, batches padded to their longest row; the same batches as d
c  Trainer at its best: rows grouped by length, fused AdamW, compiled on a GPU
d  this project
e  this project, --batching bucketed

Seconds are those of whole updates: batches, optimizer and all. Tokens do not include padding. `peak_bytes` is the memory of the
GPU, or else the peak of the process. `share` is the rate of floating-point operations that real tokens need, divided by the rate
of a large matrix product on the same machine.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from src.common.cli import prepare_torch, run_command

prepare_torch()

import numpy as np
import torch
import transformers
from torch import nn
from torch.utils.benchmark import Timer

from benchmarks.measure import Turns, make_parser, parse, print_figures, settings_of, take_turns, write_report
from processor.definition import TASKS
from processor.kinds import load_split
from src.data.task import TOKEN_TENSORS
from src.model.batch import Collator
from src.model.device import DEVICE_TYPES, choose_type
from src.model.files import uses_segments
from src.model.heads import HEADS, TaskModel
from src.model.load import load_tokenizer, new_model
from src.pipeline import find_files
from src.settings.schema import Settings
from src.training.finetune import start_device, wrap_model
from src.training.order import epoch_order, slices
from src.training.state import TrainState

CASES = ("hate-speech", "paws", "naver-ner", "korquad")
RATIOS = (("d", "a"), ("e", "a"), ("d", "b"), ("e", "c"), ("d", "c"))
WARM_UP = 2  # updates of each way that are not measured


class Case:
    """What all ways need: a task's settings, features and tokenizer."""

    def __init__(self, name: str, arguments: argparse.Namespace) -> None:
        self.arguments, self.name, self.task = arguments, name, TASKS[name]
        self.settings = self.settings_with()
        accelerator = start_device(self.settings)
        self.device, self.precision = accelerator.device, str(accelerator.mixed_precision)
        self.tokenizer = load_tokenizer(self.settings, word_level=HEADS[self.task.kind].word_level)
        file = find_files(self.settings, self.task)["train"]
        features = load_split("train", file, self.settings, self.task, self.tokenizer).features
        # (c) sorts so many rows at a time and takes the longest first: one such round, with rows of all lengths, is measured.
        rows = 4 * arguments.steps * self.settings.train_batch_size
        self.features = features.subset(np.sort(np.random.default_rng(0).permutation(len(features))[:rows]))

    def settings_with(self, **changes: str) -> Settings:
        """Return the settings of one way: the task's, with as many updates as are measured."""
        names = ("mixed_precision", "torch_compile", "train_batch_size")
        given = {name: value for name in names if (value := getattr(self.arguments, name))}
        return settings_of(self.name, self.arguments, **{"max_steps": str(WARM_UP + self.arguments.steps), **given, **changes})

    def model(self) -> Any:
        """Return a model with random weights, always the same ones."""
        torch.manual_seed(0)
        return new_model(self.settings, self.task.kind, self.task.labels).train()

    def training(self, batching: str) -> TrainState:
        """Return the state with which this project begins to train."""
        settings = self.settings_with(batching=batching)
        accelerator = start_device(settings)
        return TrainState(wrap_model(self.model(), settings, self.task, accelerator), self.features, accelerator)

    def batches(self) -> list[np.ndarray]:
        """Return the rows of each update of way d."""
        settings, size = self.settings, self.settings.train_batch_size
        epochs = range(-(-settings.max_steps * size // len(self.features)))
        return [rows for epoch in epochs for rows in slices(epoch_order(len(self.features), settings.seed, epoch), size)]

    def operations_per_token(self) -> float:
        """Return the floating-point operations of training per real token; the backward pass takes twice the forward pass.

        Forward: two for every weight of the encoder's linear layers and, for attention, four times the hidden size per layer for
        every token of the same row.
        """
        model = self.model()
        linear = sum(part.weight.numel() for part in model.base_model.modules() if isinstance(part, nn.Linear))
        lengths = self.features.lengths
        attended = (lengths.astype(np.float64) ** 2).sum() / lengths.sum()  # tokens per token
        return float(3 * (2 * linear + 4 * model.config.num_hidden_layers * model.config.hidden_size * attended))


def original(case: Case, turns: Turns) -> None:
    """(a) Train in a loop like the original's."""
    settings = case.settings_with(padding="max_length", torch_compile="false", mixed_precision="no")
    start_device(settings)
    model, head = case.model().to(case.device), HEADS[case.task.kind]
    pad_token_id = getattr(model.config, "pad_token_id", None) or 0
    collate = Collator(pad_token_id, uses_segments(model.config), case.device, settings.max_seq_len, head.labels)
    padded = TaskModel(model, collate, head, settings)
    optimizer = torch.optim.AdamW(model.parameters(), lr=settings.learning_rate, foreach=False, fused=False)
    schedule = transformers.get_linear_schedule_with_warmup(optimizer, 0, settings.max_steps)
    for rows in case.batches():
        batch = collate(case.features, rows)
        loss = padded.training_loss(batch) / batch.items
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), settings.max_grad_norm)
        optimizer.step()
        schedule.step()
        model.zero_grad()
        loss.item()
        turns.done(batch.tokens)


def this_project(batching: str) -> Callable[[Case, Turns], None]:
    """Return ways (d, e): this project's training."""

    def way(case: Case, turns: Turns) -> None:
        training = case.training(batching)
        while True:
            before = training.meter.total_tokens
            training.advance()
            turns.done(training.meter.total_tokens - before)

    return way


def trainer(**options: Any) -> Callable[[Case, Turns], None]:
    """Return ways (b, c): Trainer of transformers."""

    def way(case: Case, turns: Turns) -> None:
        kind = "ForTokenClassification" if HEADS[case.task.kind].labels == "tokens" else "WithPadding"
        collator, tokens, model = getattr(transformers, f"DataCollator{kind}")(case.tokenizer), [], case.model()

        def collate(rows: list[Mapping[str, Any]]) -> Any:
            tokens.append(sum(len(row["input_ids"]) for row in rows))
            return collator(rows)

        class Turn(transformers.TrainerCallback):
            def on_step_end(self, args: Any, state: Any, control: Any, **others: Any) -> None:
                turns.done(tokens[state.global_step - 1])  # batches may be collated ahead

        class InOrder(transformers.Trainer):
            def _get_train_sampler(self, train_dataset: Any = None) -> Any:
                if "train_sampling_strategy" in options:
                    return super()._get_train_sampler(train_dataset)
                return [int(row) for rows in case.batches() for row in rows]

        with tempfile.TemporaryDirectory() as folder:
            arguments = transformers.TrainingArguments(
                folder,
                per_device_train_batch_size=case.settings.train_batch_size,
                learning_rate=case.settings.learning_rate,
                max_steps=case.settings.max_steps + 1,
                bf16=case.precision == "bf16",
                fp16=case.precision == "fp16",
                use_cpu=case.device.type == "cpu",
                report_to="none",
                save_strategy="no",
                disable_tqdm=True,
                torch_compile="optim" in options and DEVICE_TYPES[case.device.type].compiles,
                **options,
            )
            InOrder(model, arguments, collate, dataset_of(case, model), callbacks=[Turn()]).train()

    return way


def dataset_of(case: Case, model: Any) -> list[dict[str, Any]]:
    """Return the features as a list of examples for Trainer."""
    tensors, offsets = case.features.tensors, case.features.tensors["offsets"]
    names = dict.fromkeys(("input_ids", "labels", "start_positions", "end_positions")) | {"label_ids": "labels"}
    if uses_segments(model.config):
        names["token_type_ids"] = None
    kept = {name: new or name for name, new in names.items() if name in tensors}

    def example(row: int) -> dict[str, Any]:
        span = slice(offsets[row], offsets[row + 1])
        return {new: tensors[name][span if name in TOKEN_TENSORS else row].tolist() for name, new in kept.items()}

    return [example(row) for row in range(len(case.features))]


WAYS: Mapping[str, Callable[[Case, Turns], None]] = {
    "a": original,
    "b": trainer(),
    "c": trainer(train_sampling_strategy="group_by_length", optim="adamw_torch_fused"),
    "d": this_project("shuffled"),
    "e": this_project("bucketed"),
}


def add_training_flags(parser: argparse.ArgumentParser, steps: int) -> None:
    """Add the flags that a Case needs. steps: the default number of updates."""
    parser.add_argument("--steps", type=int, default=steps, help="number of measured updates per way, 50 at most")
    parser.add_argument("--train_batch_size", help="default: as published")
    parser.add_argument("--mixed_precision", default="auto")
    parser.add_argument("--torch_compile", default="auto")


def main() -> None:
    """Measure, print a table per case, write the JSON file."""
    parser = make_parser(__doc__)
    parser.add_argument("--cases", default=",".join(CASES), help="tasks, separated by commas")
    parser.add_argument("--ways", default="abcde")
    add_training_flags(parser, 50)
    arguments = parse(parser)
    cases = arguments.cases.split(",")
    if unknown := [*(set(cases) - set(TASKS)), *(set(arguments.ways) - set(WAYS))]:
        parser.error(f"{', '.join(unknown)}: cases are {', '.join(TASKS)}; ways are {', '.join(WAYS)}")
    report = {}
    for name in cases:
        report[name] = measure(name, arguments)
        write_report(arguments, steps=arguments.steps, cases=report)


def serve(way: str, name: str, arguments: argparse.Namespace, turns: Turns) -> None:
    """Train in one way, in this process."""
    case = Case(name, arguments)
    facts = {"rows": case.settings.train_batch_size, "length": case.settings.max_seq_len, "precision": case.precision}
    turns.begin(case.device, operations_per_token=round(case.operations_per_token()), **facts)
    WAYS[way](case, turns)


def measure(name: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure every way on one task; print and return the figures."""
    ways = take_turns(serve, arguments.ways, arguments.steps, name, arguments, warm_up=WARM_UP)
    facts = ways[arguments.ways[0]].facts
    rate = matrix_rate(torch.bfloat16 if facts["precision"] == "bf16" else torch.float32)
    figures = {}
    for letter, way in ways.items():
        figures[letter] = way.figures("tokens")
        share = figures[letter]["tokens_per_s"] * facts["operations_per_token"] / rate
        figures[letter] |= {"peak_bytes": way.turns[-1]["peak_bytes"], "share": round(share, 3)}
    title = f"{name}: {facts['rows']} rows of at most {facts['length']} tokens, precision {facts['precision']}"
    ratios = print_figures(title, figures, "tokens_per_s", RATIOS)
    return facts | {"ways": figures, "ratios": ratios, "matrix_operations_per_s": round(rate)}


def matrix_rate(dtype: torch.dtype) -> float:
    """Return the floating-point operations per second of a large matrix product, the fastest of ten."""
    device = choose_type(no_cuda=False)
    size = 8192 if device == "cuda" else 2048
    one, other = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    timer = Timer("one @ other", globals={"one": one, "other": other}, num_threads=torch.get_num_threads())
    return 2 * size**3 / min(timer.timeit(1).mean for _ in range(10))


if __name__ == "__main__":
    run_command(main)
