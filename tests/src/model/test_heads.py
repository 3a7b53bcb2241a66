import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from processor.kinds import KINDS
from src.model.batch import Batch, Collator
from src.model.heads import (
    HEADS,
    TaskModel,
    best_labels,
    best_spans,
    binary_cross_entropy,
    cross_entropy,
    span_cross_entropy,
    span_logits,
    squared_error,
)
from tests.src.helpers import CPU, DEFAULTS, small_model
from tests.src.training.test_order import FEATURES


def batch_of(mask, context=None):
    """Return a batch with this attention mask and these context marks, both [B, L]."""
    inputs = {"attention_mask": torch.tensor(mask)}
    indices = torch.tensor(mask).flatten().nonzero()[:, 0]
    marks = None if context is None else torch.tensor(context, dtype=torch.uint8)
    return Batch(inputs, torch.zeros(len(mask)), len(indices), len(mask), indices, marks)


def test_every_kind_of_task_has_a_head_of_transformers():
    import transformers

    assert HEADS.keys() == KINDS.keys()
    assert all(hasattr(transformers, head.auto_class) for head in HEADS.values())


def test_losses_are_summed_over_items():
    logits = torch.tensor([[0.0, 0.0], [0.0, 0.0], [5.0, 5.0]])
    assert cross_entropy(logits, torch.tensor([0, 1, 1])).item() == pytest.approx(3 * math.log(2))
    tagged = cross_entropy(torch.zeros(1, 3, 2), torch.tensor([[-100, 1, -100]]))  # one word among three tokens
    assert tagged.item() == pytest.approx(math.log(2))
    assert squared_error(torch.tensor([[1.0], [2.0]]), torch.tensor([3.0, 2.5])).item() == pytest.approx(4.25)


def test_the_loss_of_several_labels_is_that_of_transformers():
    logits, labels = torch.tensor([[1.0, -2.0, 0.5], [0.0, 3.0, -1.0]]), torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    by_hand = sum(math.log1p(math.exp(-x if y else x)) for x, y in zip(logits.flatten(), labels.flatten(), strict=True)) / 3
    assert binary_cross_entropy(logits, labels).item() == pytest.approx(by_hand)
    model = small_model(num_labels=3).eval()
    model.config.problem_type = HEADS["multi_label"].problem_type
    output = model(input_ids=torch.tensor([[1, 2], [3, 4]]), labels=labels)
    assert binary_cross_entropy(output.logits, labels).item() == pytest.approx(2 * output.loss.item(), rel=1e-5)  # two rows


def test_losses_are_multiplied_by_the_weight_of_their_label():
    logits, weights = torch.tensor([[0.0, 1.0], [2.0, 0.0], [0.0, 0.0]]), torch.tensor([3.0, 0.5])
    losses = [cross_entropy(logits[row : row + 1], torch.tensor([label])).item() for row, label in enumerate([0, 1, 1])]
    weighted = cross_entropy(logits, torch.tensor([0, 1, 1]), weights)
    assert weighted.item() == pytest.approx(3 * losses[0] + 0.5 * losses[1] + 0.5 * losses[2])
    # A row that has the first label and not the second: only the first loss is weighted.
    expected = (3 * math.log1p(math.exp(-1)) + math.log1p(math.exp(2))) / 2
    row = binary_cross_entropy(torch.tensor([[1.0, 2.0]]), torch.tensor([[1.0, 0.0]]), weights)
    assert row.item() == pytest.approx(expected)


def test_smoothed_classes_are_those_of_torch():
    """A tenth of each target is spread over four classes, also if they have weights, whose sum is not divided by."""
    logits, labels, weights = torch.randn(5, 4), torch.tensor([0, 3, 3, 1, 2]), torch.tensor([3.0, 0.5, 1.0, 2.0])
    log_p = torch.log_softmax(logits, 1)
    targets = torch.full((5, 4), 0.025) + 0.9 * torch.eye(4)[labels]
    assert cross_entropy(logits, labels, smoothing=0.1).item() == pytest.approx(-(targets * log_p).sum().item(), rel=1e-5)
    weighted = -(targets * weights * log_p).sum().item()
    assert cross_entropy(logits, labels, weights, 0.1).item() == pytest.approx(weighted, rel=1e-5)
    by_torch = torch.nn.functional.cross_entropy(logits, labels, label_smoothing=0.1)
    assert cross_entropy(logits, labels, smoothing=0.1).item() / 5 == pytest.approx(by_torch.item(), rel=1e-5)


def test_smoothed_labels_are_nearer_to_one_half():
    """With 0.2, a label that a row has is 0.9, and one that it has not is 0.1; weights are for the part that it has."""
    logits, labels, weights = torch.tensor([[1.0, -2.0]]), torch.tensor([[1.0, 0.0]]), torch.tensor([3.0, 0.5])
    yes, no = [math.log1p(math.exp(-x)) for x in (1.0, -2.0)], [math.log1p(math.exp(x)) for x in (1.0, -2.0)]
    expected = (0.9 * yes[0] + 0.1 * no[0] + 0.1 * yes[1] + 0.9 * no[1]) / 2
    assert binary_cross_entropy(logits, labels, smoothing=0.2).item() == pytest.approx(expected)
    expected = (3 * 0.9 * yes[0] + 0.1 * no[0] + 0.5 * 0.1 * yes[1] + 0.9 * no[1]) / 2
    assert binary_cross_entropy(logits, labels, weights, 0.2).item() == pytest.approx(expected)


def test_the_loss_of_spans_is_the_mean_of_both_ends_and_ignores_padding():
    """For uniform logits over two real tokens in one row and four in the other."""
    logits = torch.zeros(2, 4, 2)
    logits[0, 2:] = -torch.inf
    assert span_cross_entropy(logits, torch.tensor([[0, 1], [3, 0]])).item() == pytest.approx(math.log(2) + math.log(4))


def test_span_logits_are_minus_infinity_at_padding():
    output = type("Output", (), {"start_logits": torch.ones(1, 3), "end_logits": torch.full((1, 3), 2.0)})
    logits = span_logits(output, batch_of([[1, 1, 0]]))
    assert logits.tolist() == [[[1.0, 2.0], [1.0, 2.0], [-math.inf, -math.inf]]]


def test_the_logits_of_choices_are_a_row_of_the_logits_of_their_sequences():
    """Two rows of three choices. Their loss is that of a softmax over the choices of a row, by hand."""
    sequences = torch.tensor([[1.0], [2.0], [3.0], [0.0], [0.5], [-1.0]])
    batch = replace(batch_of([[1]] * 6), labels=torch.tensor([2, 0]))
    logits = HEADS["multiple_choice"].logits(SimpleNamespace(logits=sequences), batch)
    assert logits.tolist() == [[1.0, 2.0, 3.0], [0.0, 0.5, -1.0]]
    by_hand = math.log(sum(map(math.exp, (1 - 3, 2 - 3, 0)))) + math.log(sum(map(math.exp, (0, 0.5, -1))))
    assert HEADS["multiple_choice"].summed_loss(logits, batch.labels).item() == pytest.approx(by_hand)


def test_best_labels_are_those_of_real_tokens_row_after_row():
    logits = torch.tensor([[[0.0, 1.0], [1.0, 0.0]], [[2.0, 1.0], [0.0, 9.0]]])
    assert best_labels(logits, batch_of([[1, 1], [1, 0]]), DEFAULTS).tolist() == [1, 0, 0]


def spans(start, end, context, **settings):
    logits = torch.stack([torch.tensor([start]), torch.tensor([end])], dim=-1)
    best = best_spans(logits, batch_of([[1] * len(start)], [context]), DEFAULTS.model_copy(update=settings))
    assert best.dtype == torch.float32
    return [tuple(row) for row in best[0].tolist()]


def test_best_spans_have_the_largest_sums():
    best = spans([9.0, 1.0, 3.0, 0.0], [9.0, 2.0, 1.0, 4.0], [0, 2, 2, 2], n_best_size=3)
    # 3 + 4, 1 + 4, and 0 + 4; token 0 belongs to the question
    assert best == [(2, 3, 3.0, 4.0), (1, 3, 1.0, 4.0), (3, 3, 0.0, 4.0)]


def test_spans_end_after_their_start_and_are_not_longer_than_allowed():
    start, end = [0.0, 5.0, 5.0, 0.0], [5.0, 0.0, 1.0, 5.0]
    assert spans(start, end, [2, 2, 2, 2], n_best_size=1, max_answer_length=2) == [(2, 3, 5.0, 5.0)]
    assert spans(start, end, [2, 2, 2, 2], n_best_size=1, max_answer_length=1) == [(2, 2, 5.0, 1.0)]


def test_spans_start_at_maximum_context_and_end_anywhere_in_the_context():
    assert spans([9.0, 1.0, 0.0], [0.0, 0.0, 9.0], [1, 2, 1], n_best_size=1) == [(1, 2, 1.0, 9.0)]


def test_logits_are_minus_infinity_if_there_are_fewer_spans():
    best = spans([1.0, 1.0], [1.0, 1.0], [0, 2], n_best_size=5, max_answer_length=30)
    assert best[0] == (1, 1, 1.0, 1.0)
    assert [row[2] + row[3] for row in best[1:]] == [-math.inf] * 4
    assert all(0 <= first <= last < 2 for first, last, _, _ in best)


def test_best_spans_are_those_of_an_exhaustive_search():
    rng = np.random.default_rng(0)
    for _ in range(20):
        start, end = rng.normal(size=(2, 12)).astype(np.float32)
        context = rng.integers(0, 3, 12)
        pairs = [(s, e) for s in range(12) for e in range(s, min(12, s + 4)) if context[s] == 2 and context[e] >= 1]
        expected = sorted(pairs, key=lambda pair: -(start[pair[0]] + end[pair[1]]))[:6]
        best = spans(start.tolist(), end.tolist(), context.tolist(), n_best_size=6, max_answer_length=4)
        assert [(int(s), int(e)) for s, e, *logits in best if math.isfinite(sum(logits))] == expected


def test_a_task_model_sends_a_batch_through_the_model():
    class Model(torch.nn.Module):
        def forward(self, input_ids, attention_mask):
            return type("Output", (), {"logits": (input_ids * attention_mask).sum(1)})

    collate = Collator(pad_token_id=9, segments=False, device=CPU)
    task_model = TaskModel(Model(), collate, HEADS["regression"], DEFAULTS)
    assert task_model.logits(task_model.collate(FEATURES, np.array([0, 3]))).tolist() == [1, 16]
