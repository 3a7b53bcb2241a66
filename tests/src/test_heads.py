import math

import numpy as np
import pytest
import torch

from src.batches import Batch, Collator
from src.heads import HEADS, TaskModel, best_labels, best_spans, cross_entropy, span_cross_entropy, span_logits, squared_error
from tests.src.helpers import CPU, DEFAULTS
from tests.src.test_batches import FEATURES


def batch_of(mask, context=None):
    """A batch with this attention mask and context, [B, L] both."""
    inputs = {"attention_mask": torch.tensor(mask)}
    places = torch.tensor(mask).flatten().nonzero()[:, 0]
    shown = None if context is None else torch.tensor(context, dtype=torch.uint8)
    return Batch(inputs, torch.zeros(len(mask)), len(places), len(mask), places, shown)


def test_every_head_is_a_class_of_transformers():
    import transformers

    assert all(hasattr(transformers, head.auto_class) for head in HEADS.values())
    assert len(HEADS) == 4


def test_losses_are_sums_over_rows():
    logits = torch.tensor([[0.0, 0.0], [0.0, 0.0], [5.0, 5.0]])
    assert cross_entropy(logits, torch.tensor([0, 1, 1])).item() == pytest.approx(3 * math.log(2))
    tagged = cross_entropy(torch.zeros(1, 3, 2), torch.tensor([[-100, 1, -100]]))  # one word among three tokens
    assert tagged.item() == pytest.approx(math.log(2))
    assert squared_error(torch.tensor([[1.0], [2.0]]), torch.tensor([3.0, 2.5])).item() == pytest.approx(4.25)


def test_the_loss_of_spans_is_the_mean_of_both_ends_over_real_positions():
    """Two rows that know nothing: one of two tokens, one of four; padding is as if it were not there."""
    logits = torch.zeros(2, 4, 2)
    logits[0, 2:] = -torch.inf
    assert span_cross_entropy(logits, torch.tensor([[0, 1], [3, 0]])).item() == pytest.approx(math.log(2) + math.log(4))


def test_span_logits_of_padding_are_out_of_the_question():
    output = type("Output", (), {"start_logits": torch.ones(1, 3), "end_logits": torch.full((1, 3), 2.0)})
    logits = span_logits(output, batch_of([[1, 1, 0]]))
    assert logits.tolist() == [[[1.0, 2.0], [1.0, 2.0], [-math.inf, -math.inf]]]


def test_the_labels_of_real_tokens_come_row_after_row():
    logits = torch.tensor([[[0.0, 1.0], [1.0, 0.0]], [[2.0, 1.0], [0.0, 9.0]]])
    assert best_labels(logits, batch_of([[1, 1], [1, 0]]), DEFAULTS).tolist() == [1, 0, 0]


def spans(start, end, context, **settings):
    logits = torch.stack([torch.tensor([start]), torch.tensor([end])], dim=-1)
    found = best_spans(logits, batch_of([[1] * len(start)], [context]), DEFAULTS.model_copy(update=settings))
    assert found.dtype == torch.float32
    return [tuple(row) for row in found[0].tolist()]


def test_the_best_spans_are_those_with_the_greatest_sums():
    found = spans([9.0, 1.0, 3.0, 0.0], [9.0, 2.0, 1.0, 4.0], [0, 2, 2, 2], n_best_size=3)
    # 3 + 4, 1 + 4, and 0 + 4; token 0 is of the question
    assert found == [(2, 3, 3.0, 4.0), (1, 3, 1.0, 4.0), (3, 3, 0.0, 4.0)]


def test_spans_run_forward_and_no_longer_than_allowed():
    start, end = [0.0, 5.0, 5.0, 0.0], [5.0, 0.0, 1.0, 5.0]
    assert spans(start, end, [2, 2, 2, 2], n_best_size=1, max_answer_length=2) == [(2, 3, 5.0, 5.0)]
    assert spans(start, end, [2, 2, 2, 2], n_best_size=1, max_answer_length=1) == [(2, 2, 5.0, 1.0)]


def test_spans_begin_only_where_this_window_shows_most_context_and_may_end_anywhere_in_it():
    assert spans([9.0, 1.0, 0.0], [0.0, 0.0, 9.0], [1, 2, 1], n_best_size=1) == [(1, 2, 1.0, 9.0)]


def test_where_there_are_fewer_spans_the_rest_is_out_of_the_question():
    found = spans([1.0, 1.0], [1.0, 1.0], [0, 2], n_best_size=5, max_answer_length=30)
    assert found[0] == (1, 1, 1.0, 1.0)
    assert [row[2] + row[3] for row in found[1:]] == [-math.inf] * 4
    assert all(0 <= first <= last < 2 for first, last, _, _ in found)


def test_all_spans_are_searched():
    """Against trying every pair, on random logits."""
    rng = np.random.default_rng(0)
    for _ in range(20):
        start, end = rng.normal(size=(2, 12)).astype(np.float32)
        context = rng.integers(0, 3, 12)
        pairs = [(s, e) for s in range(12) for e in range(s, min(12, s + 4)) if context[s] == 2 and context[e] >= 1]
        expected = sorted(pairs, key=lambda pair: -(start[pair[0]] + end[pair[1]]))[:6]
        found = spans(start.tolist(), end.tolist(), context.tolist(), n_best_size=6, max_answer_length=4)
        assert [(int(s), int(e)) for s, e, one, other in found if math.isfinite(one + other)] == expected


def test_the_spot_where_a_batch_meets_the_model():
    class Model(torch.nn.Module):
        def forward(self, input_ids, attention_mask):
            return type("Output", (), {"logits": (input_ids * attention_mask).sum(1)})

    collate = Collator(pad_token_id=9, segments=False, device=CPU)
    task_model = TaskModel(Model(), collate, HEADS["regression"], DEFAULTS)
    assert task_model.logits(task_model.collate(FEATURES, np.array([0, 3]))).tolist() == [1, 16]
