"""The heads of the models as a table with one row per kind of task, their losses, and how predictions follow from logits."""

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from src.data.task import IGNORE_INDEX, IN_CONTEXT, MAX_CONTEXT
from src.model.batch import Batch, Collator, LabelLayout
from src.model.unpadding.layout import Layout, using_layout
from src.settings.schema import Settings


@dataclass(frozen=True)
class Head:
    """The head for one kind of task."""

    auto_class: str  # class of transformers that adds the head to an encoder
    # logits, labels -> sum of the losses of all items, a scalar; `weights=` and `smoothing=` if the settings are for this kind
    summed_loss: Callable[..., Tensor]
    logits: Callable[[Any, Batch], Tensor] = lambda output, batch: output.logits  # output of the transformers model -> logits
    postprocess: Callable[[Tensor, Batch, Settings], Tensor] = lambda logits, batch, settings: logits  # what evaluation keeps
    labels: LabelLayout = "rows"  # one label per row, one per token, or a span per row; evaluation keeps as many predictions
    problem_type: str | None = None  # entry of the config
    outputs: tuple[str, ...] = ()  # names of the outputs, if they are not the labels of the task
    word_level: bool = False  # the task labels words, so the ids of a word must not depend on whether a space precedes it


def cross_entropy(logits: Tensor, labels: Tensor, weights: Tensor | None = None, smoothing: float = 0.0) -> Tensor:
    """Return the summed cross entropy, a scalar. logits float [..., C], labels int64 [...] with IGNORE_INDEX for no item.

    weights: float [C]; the loss of an item is multiplied by the weight of its label. smoothing: the share of the target that is
    spread evenly over all classes, each with its own weight, as in torch.
    """
    return functional.cross_entropy(
        logits.flatten(0, -2), labels.flatten(), weights, reduction="sum", ignore_index=IGNORE_INDEX, label_smoothing=smoothing
    )


def binary_cross_entropy(logits: Tensor, labels: Tensor, weights: Tensor | None = None, smoothing: float = 0.0) -> Tensor:
    """Return the binary cross entropy, averaged over labels and summed over rows, a scalar. Both float [B, C].

    weights: float [C]; the loss of a label that a row has is multiplied by its weight. smoothing: the share of each target, 0 or
    1, that is replaced by 1/2.
    """
    labels = labels * (1 - smoothing) + smoothing / 2
    summed = functional.binary_cross_entropy_with_logits(logits, labels, pos_weight=weights, reduction="sum")
    return summed / logits.shape[-1]


def squared_error(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the summed squared error, a scalar. logits float [B, 1], labels float [B]."""
    return functional.mse_loss(logits.squeeze(-1), labels, reduction="sum")


def span_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the mean cross entropy of first and last token, summed over rows. logits float [B, L, 2], labels int64 [B, 2]."""
    return functional.cross_entropy(logits, labels, reduction="sum") / 2


def span_logits(output: Any, batch: Batch) -> Tensor:
    """Return the logits of first and last token, float32 [B, L, 2], with -inf at padding to exclude it from every softmax."""
    logits = torch.stack([output.start_logits, output.end_logits], dim=-1).float()
    return logits.masked_fill(batch.inputs["attention_mask"].unsqueeze(-1) == 0, -torch.inf)


def choice_logits(output: Any, batch: Batch) -> Tensor:
    """Return the logits of the choices of each row, float [B, choices], from one logit per sequence."""
    return output.logits.reshape(len(batch.labels), -1)


def best_labels(logits: Tensor, batch: Batch, settings: Settings) -> Tensor:
    """Return the most likely label id of each real token, int64 [tokens], row after row. logits float [B, L, C]."""
    return logits.argmax(dim=-1)[batch.inputs["attention_mask"] > 0]


def best_spans(logits: Tensor, batch: Batch, settings: Settings) -> Tensor:
    """Return the `n_best_size` best spans of each row, best first: float32 [B, n_best_size, 4].

    If questions may have no answer, one more follows: the first token, which stands for none, [B, n_best_size + 1, 4].

    The four values are first token, last token, and their logits, whose sum is the score of the span. logits float [B, L, 2].
    Spans start at a token marked MAX_CONTEXT, end in the context and have at most `max_answer_length` tokens. If there are fewer
    than `n_best_size`, the logits of the remaining ones are -inf.
    """
    assert batch.context_marks is not None
    start = logits[..., 0].masked_fill(batch.context_marks < MAX_CONTEXT, -torch.inf)
    end = logits[..., 1].masked_fill(batch.context_marks < IN_CONTEXT, -torch.inf)
    longest = min(settings.max_answer_length, start.shape[1])
    # [B, L, longest]: for each first token, the end logits of the spans of 1 to `longest` tokens
    ends = functional.pad(end, (0, longest - 1), value=-torch.inf).unfold(1, longest, 1)
    scores = (start.unsqueeze(-1) + ends).flatten(1)
    scores = functional.pad(scores, (0, max(0, settings.n_best_size - scores.shape[1])), value=-torch.inf)
    best = scores.topk(settings.n_best_size, dim=1)
    first = (best.indices // longest).clamp(max=start.shape[1] - 1)
    last = (first + best.indices % longest).clamp(max=start.shape[1] - 1)
    is_span = best.values > -torch.inf
    first_logits, last_logits = (
        values.gather(1, tokens).masked_fill(~is_span, -torch.inf) for values, tokens in ((start, first), (end, last))
    )
    spans = torch.stack([first, last, first_logits, last_logits], dim=-1).float()
    if settings.version_2_with_negative:
        none = functional.pad(logits[:, 0].float(), (2, 0))  # tokens 0 and 0, and their logits
        spans = torch.cat([spans, none.unsqueeze(1)], dim=1)
    return spans


# Keyed by src.data.task.Task.kind.
ROW_CLASS, TOKEN_CLASS = "AutoModelForSequenceClassification", "AutoModelForTokenClassification"
HEADS: Mapping[str, Head] = {
    "classification": Head(ROW_CLASS, cross_entropy, problem_type="single_label_classification"),
    "multi_label": Head(ROW_CLASS, binary_cross_entropy, problem_type="multi_label_classification"),
    "regression": Head(ROW_CLASS, squared_error, problem_type="regression", outputs=("score",)),
    "multiple_choice": Head(ROW_CLASS, cross_entropy, choice_logits, outputs=("score",)),
    "tagging": Head(TOKEN_CLASS, cross_entropy, postprocess=best_labels, labels="tokens", word_level=True),
    "character_tagging": Head(TOKEN_CLASS, cross_entropy, postprocess=best_labels, labels="tokens", word_level=True),
    "span": Head(
        "AutoModelForQuestionAnswering",
        span_cross_entropy,
        span_logits,
        best_spans,
        labels="spans",
        outputs=("start", "end"),
        word_level=True,
    ),
}


@dataclass(frozen=True)
class TaskModel:
    """A model on its device with everything needed to train and evaluate it: its batches and its head."""

    model: nn.Module
    collate: Collator
    head: Head
    settings: Settings
    unpadded: bool = False  # the encoder runs without padding (src.model.unpadding.unpad)
    weights: Tensor | None = None  # of the labels in the loss of training (src.settings.class_weights), float32 [C]
    smoothing: float = 0.0  # of the labels in the loss of training

    def logits(self, batch: Batch) -> Tensor:
        """Run the model: float [B, C], or [B, L, C] if each token has outputs. The only place that does, in training, too."""
        layout = using_layout(Layout.of(batch.inputs["attention_mask"], batch.places)) if self.unpadded else nullcontext()
        with layout:
            return self.head.logits(self.model(**batch.inputs), batch)

    def training_loss(self, batch: Batch) -> Tensor:
        """Return the sum of the losses of a batch's items, a scalar; in evaluation without weights and smoothing."""
        options: dict[str, Any] = {} if self.weights is None else {"weights": self.weights}
        if self.smoothing:
            options["smoothing"] = self.smoothing
        return self.head.summed_loss(self.logits(batch), batch.labels, **options)

    def postprocess(self, logits: Tensor, batch: Batch) -> Tensor:
        """Return what evaluation keeps of the logits: one entry per row of the batch, or per real token."""
        return self.head.postprocess(logits.float(), batch, self.settings)
