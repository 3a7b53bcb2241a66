"""What comes out of a model: the heads as a table, their losses, and what is kept of their logits."""

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from src.batches import Batch, Collator, LabelLayout
from src.data import IGNORE_INDEX, IN_CONTEXT, MAX_CONTEXT
from src.settings import Settings
from src.unpadding import Layout, using_layout


@dataclass(frozen=True)
class Head:
    """How one kind of output is modelled."""

    auto_class: str  # the class of transformers that carries the head
    summed_loss: Callable[[Tensor, Tensor], Tensor]  # logits, labels -> the sum over items
    logits: Callable[[Any, Batch], Tensor] = lambda output, batch: output.logits
    postprocess: Callable[[Tensor, Batch, Settings], Tensor] = lambda logits, batch, settings: logits
    labels: LabelLayout = "rows"  # how the collator lays out labels
    problem_type: str | None = None
    outputs: tuple[str, ...] = ()  # their names, where they are no labels
    per_token: bool = False  # a label for every token is kept, not something for every row
    word_level: bool = False  # what it says is about words: byte-level pieces must not depend on what stands before a word


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Sum over items of the cross entropy; a scalar. logits float [..., C], labels int64 [...], where -100 is no item."""
    return functional.cross_entropy(logits.flatten(0, -2), labels.flatten(), reduction="sum", ignore_index=IGNORE_INDEX)


def squared_error(logits: Tensor, labels: Tensor) -> Tensor:
    """Sum over rows of the squared error. logits float [B, 1], labels float [B]; a scalar."""
    return functional.mse_loss(logits.squeeze(-1), labels, reduction="sum")


def span_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Sum over rows of the mean cross entropy of first and last token. logits float [B, L, 2], labels int64 [B, 2]; a scalar."""
    return functional.cross_entropy(logits, labels, reduction="sum") / 2


def span_logits(output: Any, batch: Batch) -> Tensor:
    """Logits of the first and of the last token, float32 [B, L, 2]; -inf at padding, which has no share in any softmax."""
    logits = torch.stack([output.start_logits, output.end_logits], dim=-1).float()
    return logits.masked_fill(batch.inputs["attention_mask"].unsqueeze(-1) == 0, -torch.inf)


def best_labels(logits: Tensor, batch: Batch, settings: Settings) -> Tensor:
    """The best label id of every real token, int64 [tokens], row after row. logits float [B, L, C]."""
    return logits.argmax(dim=-1)[batch.inputs["attention_mask"] > 0]


def best_spans(logits: Tensor, batch: Batch, settings: Settings) -> Tensor:
    """The `n_best_size` best spans of each row, best first: float32 [B, n_best_size, 4] of first and last token and their logits.

    A span's score is the sum of its two logits. Those that leave the context, are longer than `max_answer_length` tokens or begin
    where another window shows more context do not count; where there are fewer spans, the rest have logits of -inf.
    """
    assert batch.context_marks is not None
    start = logits[..., 0].masked_fill(batch.context_marks < MAX_CONTEXT, -torch.inf)
    end = logits[..., 1].masked_fill(batch.context_marks < IN_CONTEXT, -torch.inf)
    longest = min(settings.max_answer_length, start.shape[1])
    # [B, L, longest]: the logits of the ends of all spans that begin at a token
    ends = functional.pad(end, (0, longest - 1), value=-torch.inf).unfold(1, longest, 1)
    scores = (start.unsqueeze(-1) + ends).flatten(1)
    scores = functional.pad(scores, (0, max(0, settings.n_best_size - scores.shape[1])), value=-torch.inf)
    best = scores.topk(settings.n_best_size, dim=1)
    first = (best.indices // longest).clamp(max=start.shape[1] - 1)
    last = (first + best.indices % longest).clamp(max=start.shape[1] - 1)
    is_span = best.values > -torch.inf
    found = [values.gather(1, places).masked_fill(~is_span, -torch.inf) for values, places in ((start, first), (end, last))]
    return torch.stack([first, last, *found], dim=-1).float()


HEADS: Mapping[str, Head] = {
    "classification": Head(
        "AutoModelForSequenceClassification", cross_entropy, problem_type="single_label_classification"
    ),
    "regression": Head(
        "AutoModelForSequenceClassification", squared_error, problem_type="regression", outputs=("score",)
    ),
    "tagging": Head(
        "AutoModelForTokenClassification",
        cross_entropy,
        labels="tokens",
        postprocess=best_labels,
        per_token=True,
        word_level=True,
    ),
    "span": Head(
        "AutoModelForQuestionAnswering",
        span_cross_entropy,
        labels="spans",
        logits=span_logits,
        postprocess=best_spans,
        outputs=("start", "end"),
        word_level=True,
    ),
}  # fmt: skip


@dataclass(frozen=True)
class TaskModel:
    """A model on its device, with how its batches are made and what its head makes of them."""

    model: nn.Module
    collate: Collator
    head: Head
    settings: Settings
    unpads: bool = False  # whether its encoder runs on real tokens alone

    def logits(self, batch: Batch) -> Tensor:
        """Logits of a batch: float [B, C]; [B, L, C] where tokens have outputs.

        Training and evaluation come through here and nowhere else.
        """
        with using_layout(Layout.of(batch.inputs["attention_mask"], batch.places)) if self.unpads else nullcontext():
            return self.head.logits(self.model(**batch.inputs), batch)

    def postprocess(self, logits: Tensor, batch: Batch) -> Tensor:
        """What evaluation keeps of the logits: a row for each row of the batch, or for each real token."""
        return self.head.postprocess(logits.float(), batch, self.settings)
