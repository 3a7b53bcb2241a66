"""The ways to make updates that train_speed.py compares, and what they share: data and model."""

import argparse
import tempfile
from collections.abc import Callable, Mapping
from typing import Any

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

from benchmarks.turns import Turns
from processor.definition import TASKS
from processor.download import find_files
from processor.kinds import load_split
from src.model.batch import Collator
from src.model.device import DEVICE_TYPES
from src.model.heads import HEADS, TaskModel
from src.model.load import load_tokenizer, new_model, uses_segments
from src.settings.layers import load_settings
from src.settings.schema import Settings
from src.training.finetune import start_device, wrap_model
from src.training.order import epoch_order, slices
from src.training.state import TrainState

WARM_UP = 2  # updates of each way that are not measured


class Case:
    """What all ways need: a task's settings, features and tokenizer."""

    def __init__(self, task: str, arguments: argparse.Namespace) -> None:
        self.arguments, self.name, self.task = arguments, task, TASKS[task]
        self.settings = self.settings_with()
        accelerator = start_device(self.settings)
        self.device, self.precision = accelerator.device, str(accelerator.mixed_precision)
        self.tokenizer = load_tokenizer(self.settings, word_level=HEADS[self.task.kind].word_level)
        file = find_files(self.settings, self.task)["train"]
        features = load_split("train", file, self.settings, self.task, self.tokenizer).features
        # (c) sorts so many rows at a time and takes the longest first: one such round, with rows of all lengths, is measured.
        rows = 4 * arguments.steps * self.settings.train_batch_size
        chosen = np.random.default_rng(0).permutation(len(features))[:rows]
        self.features = features.subset(np.sort(chosen))

    def settings_with(self, **changes: str) -> Settings:
        """Return the settings of one way: the task's, with random weights and as many updates as are measured."""
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
        flags = [word for name, value in given.items() for word in (f"--{name}", value)]
        return load_settings(["--task", self.name, *flags], script="benchmark", tasks=TASKS)

    def batches(self) -> list[np.ndarray]:
        """Return the rows of each update of way d."""
        settings, size = self.settings, self.settings.train_batch_size
        epochs = range(-(-settings.max_steps * size // len(self.features)))
        return [rows for epoch in epochs for rows in slices(epoch_order(len(self.features), settings.seed, epoch), size)]

    def model(self) -> Any:
        """Return a model with random weights, always the same ones."""
        torch.manual_seed(0)
        return new_model(self.settings, self.task.kind, self.task.labels).train()

    def operations_per_token(self) -> float:
        """Return the floating-point operations of training per real token; the backward pass takes twice the forward pass.

        Forward: two for every weight of the encoder's linear layers and, for attention, four times the hidden size per layer for
        every token of the same row.
        """
        model = self.model()
        linear = sum(part.weight.numel() for part in model.base_model.modules() if isinstance(part, nn.Linear))
        lengths = self.features.lengths
        attended = (lengths.astype(np.float64) ** 2).sum() / lengths.sum()  # tokens per token
        config: Any = model.config
        return 3.0 * (2 * linear + 4 * config.num_hidden_layers * config.hidden_size * attended)


# -- the ways ----------------------------------------------------------------------------------------------------------------


def original(case: Case, turns: Turns) -> None:
    """(a) Train in a loop like the original's."""
    settings = case.settings_with(padding="max_length", torch_compile="false", mixed_precision="no")
    start_device(settings)
    model = case.model().to(case.device)
    pad_token_id = getattr(model.config, "pad_token_id", None) or 0
    head = HEADS[case.task.kind]
    collate = Collator(pad_token_id, uses_segments(model.config), case.device, settings.max_seq_len, head.labels)
    padded = TaskModel(model, collate, head, settings)
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


def this_project(batching: str) -> Callable[[Case, Turns], None]:
    """Return ways (d, e): this project's training."""

    def way(case: Case, turns: Turns) -> None:
        settings = case.settings_with(batching=batching)
        accelerator = start_device(settings)
        training = TrainState(wrap_model(case.model(), settings, case.task, accelerator), case.features, accelerator)
        while True:
            before = training.meter.total_tokens
            training.advance()
            turns.done(training.meter.total_tokens - before)

    return way


def trainer(**options: Any) -> Callable[[Case, Turns], None]:
    """Return ways (b, c): Trainer of transformers."""

    def way(case: Case, turns: Turns) -> None:
        padded = DataCollatorForTokenClassification if HEADS[case.task.kind].labels == "tokens" else DataCollatorWithPadding
        collator, counts = padded(case.tokenizer), []

        def collate(rows: list[Mapping[str, Any]]) -> Any:
            counts.append(sum(len(row["input_ids"]) for row in rows))
            return collator(rows)

        class Turn(TrainerCallback):
            def on_step_end(self, args: Any, state: Any, control: Any, **others: Any) -> None:
                turns.done(counts[state.global_step - 1])  # batches may be collated ahead

        class InOrder(Trainer):
            def _get_train_sampler(self, train_dataset: Any = None) -> Any:
                if "train_sampling_strategy" in options:
                    return super()._get_train_sampler(train_dataset)
                return [int(row) for rows in case.batches() for row in rows]

        with tempfile.TemporaryDirectory() as folder:
            arguments = TrainingArguments(
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
            InOrder(case.model(), arguments, collate, dataset_of(case), callbacks=[Turn()]).train()

    return way


def dataset_of(case: Case) -> list[dict[str, Any]]:
    """Return the features as a list of examples for Trainer."""
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
    "d": this_project("shuffled"),
    "e": this_project("bucketed"),
}
