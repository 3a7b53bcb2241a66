"""Parts for the tests of the loop: a split of random rows and a model small enough to train in no time."""

from dataclasses import dataclass, field

import numpy as np
import torch
from transformers import ElectraConfig, ElectraForSequenceClassification

from src.batches import Collator
from src.data import Features
from src.heads import HEADS, TaskModel
from src.settings import Settings

CPU = torch.device("cpu")
DEFAULTS = Settings(task="nsmc", model_name_or_path="model", test_file="test.tsv")  # all else by default


def task_model(model):
    """The model as the loop takes it, a classifier on the CPU."""
    return TaskModel(model, Collator(0, True, CPU), HEADS["classification"], DEFAULTS)


def small_model(num_labels=2, dropout=0.0, seed=0):
    torch.manual_seed(seed)
    config = ElectraConfig(
        vocab_size=50, embedding_size=8, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16,
        num_labels=num_labels, hidden_dropout_prob=dropout, attention_probs_dropout_prob=dropout, classifier_dropout=dropout,
        summary_last_dropout=dropout,
    )  # fmt: skip
    return ElectraForSequenceClassification(config)


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

    def decode(self, outputs):
        return outputs

    def score(self, logits):
        return {"acc": float((logits.argmax(1) == self.features.tensors["labels"]).mean())}

    def report(self, outputs):
        return ""

    def predictions(self, logits):
        return {"predictions.tsv": (" ".join(f"{value:.6f}" for value in row) for row in logits)}
