"""Parts for the tests of the loop: splits of random rows, a model small enough to train in no time, whole trainings."""

import json
import os
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from transformers import ElectraConfig, ElectraForSequenceClassification

from processor.definition import TASKS
from src.data.task import DataFile, Features
from src.model.batch import Collator
from src.model.heads import HEADS, TaskModel
from src.runs.status import find_run
from src.settings.schema import Settings
from src.training.loop import train
from src.training.scorer import Scorer

CPU = torch.device("cpu")
TEST = {"test": DataFile(Path("test.tsv"), "1" * 64, "other")}
DEV_AND_TEST = {"dev": DataFile(Path("dev.tsv"), "2" * 64, "other"), **TEST}
DEFAULTS = Settings(task="nsmc", model_name_or_path="model", test_file="test.tsv")  # everything else by default


def task_model(model, settings=DEFAULTS, unpads=False):
    """Wrap a model as a classifier on the CPU."""
    return TaskModel(model, Collator(0, True, CPU), HEADS["classification"], settings, unpads)


def small_model(num_labels=2, dropout=0.0, seed=0):
    torch.manual_seed(seed)
    config = ElectraConfig(
        vocab_size=50, embedding_size=8, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16,
        num_labels=num_labels, hidden_dropout_prob=dropout, attention_probs_dropout_prob=dropout, classifier_dropout=dropout,
        summary_last_dropout=dropout,
    )  # fmt: skip
    return ElectraForSequenceClassification(config)


def model_with_nan(*updates):
    """A small model whose loss is NaN in the given updates of two batches each, and a list that grows with every batch."""
    calls = []

    class WithNan(ElectraForSequenceClassification):
        def forward(self, *args, **kwargs):
            output = super().forward(*args, **kwargs)
            calls.append(1)
            if self.training and (len(calls) + 1) // 2 in updates:
                output.logits = output.logits * float("nan")
            return output

    model = small_model()
    model.__class__ = WithNan
    return model, calls


# What torch raises if memory is full.
GPU_MEMORY = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1 GiB")
CPU_MEMORY = RuntimeError("[enforce fail at alloc_cpu.cpp:124] . DefaultCPUAllocator: can't allocate memory: you tried to ...")


def limited_model(rows, error=GPU_MEMORY):
    """A small model with memory for batches of at most so many rows, and a list of the sizes of its batches."""
    sizes = []

    class Limited(ElectraForSequenceClassification):
        def forward(self, *args, **kwargs):
            sizes.append(len(kwargs["input_ids"]))
            if sizes[-1] > rows:
                raise error
            return super().forward(*args, **kwargs)

    model = small_model()
    model.__class__ = Limited
    return model, sizes


class Tokenizer:
    """A tokenizer of which a checkpoint keeps one file."""

    def save_pretrained(self, folder):
        (folder / "vocab.txt").write_text("vocabulary")


def run_training(settings, model, rows, budget=40, unpads=False):
    """Train and score `model` until it ends or is interrupted; return its run. With a dev_file there is a dev split."""
    files = DEV_AND_TEST if settings.has_dev else TEST
    run = find_run(settings, TASKS["nsmc"], files)
    run.start({"definition": TASKS["nsmc"].model_dump(mode="json", exclude_defaults=True)}, {})
    scorer = Scorer(run, {name: RandomSplit(8, name) for name in files}, budget)
    try:
        train(task_model(model, settings, unpads), Tokenizer(), RandomSplit(rows), Accelerator(cpu=True), scorer)
        run.finish(scorer.seconds, 1.0)
    finally:
        os.close(run.lock)  # as the end of the process would
    return run


def train_small(settings, model=None, rows=20, **changes):
    """Train the small model on `rows` rows in updates of 4; return the run and the model."""
    base = {"train_batch_size": 4, "num_train_epochs": 1, "learning_rate": 0.01, "log_every": 1, "overwrite_output_dir": True}
    model = model or small_model()
    return run_training(settings(**base | changes), model, rows, budget=4), model


def log_of(run):
    """The lines of log.jsonl."""
    return [json.loads(line) for line in (run.folder / "log.jsonl").read_text().splitlines()]


@dataclass
class RandomSplit:
    """n rows of 3 to 12 tokens; a row's label is whether its first token is above 25."""

    rows: int
    name: str = "train"
    features: Features = field(init=False)

    def __post_init__(self):
        rng = np.random.default_rng(self.rows)
        lengths = rng.integers(3, 13, self.rows)
        ids = rng.integers(1, 50, lengths.sum()).astype(np.int32)
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        labels = (ids[offsets[:-1]] > 25).astype(np.int64)
        self.features = Features(
            {"input_ids": ids, "token_type_ids": np.zeros(len(ids), np.uint8), "offsets": offsets, "labels": labels}
        )

    def __len__(self):
        return self.rows

    @property
    def facts(self):
        return {"rows": self.rows}

    def decode(self, outputs, dev):
        return outputs

    def score(self, logits):
        return {"acc": float((logits.argmax(1) == self.features.tensors["labels"]).mean())}

    def report(self, outputs):
        return ""

    def cautions(self, outputs):
        return []

    def predictions(self, logits):
        return {"predictions.tsv": (" ".join(f"{value:.6f}" for value in row) for row in logits)}
