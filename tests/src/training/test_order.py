import numpy as np
import torch

from src.data.task import IGNORE_INDEX, Features
from src.model.batch import Collator
from src.training.order import bucketed_order, by_length, epoch_order, items_of_rows, micro_batches, shares, slices

# Row r has r + 1 tokens with the id r + 1.
FEATURES = Features(
    {
        "input_ids": np.array([1, 2, 2, 3, 3, 3, 4, 4, 4, 4], np.int32),
        "token_type_ids": np.array([0, 0, 1, 0, 1, 1, 0, 0, 1, 1], np.uint8),
        "offsets": np.array([0, 1, 3, 6, 10]),
        "labels": np.array([10, 20, 30, 40]),
    }
)
CPU = torch.device("cpu")


def test_epoch_order_depends_only_on_seed_and_epoch():
    first = epoch_order(100, seed=42, epoch=0)
    assert sorted(first) == list(range(100))
    assert first.tolist() == epoch_order(100, seed=42, epoch=0).tolist()
    assert first.tolist() != epoch_order(100, seed=42, epoch=1).tolist()
    assert first.tolist() != epoch_order(100, seed=43, epoch=0).tolist()


def test_epoch_order_is_the_same_in_every_version():
    """Otherwise the same seed would give other scores."""
    assert epoch_order(8, seed=42, epoch=0).tolist() == [3, 4, 2, 7, 6, 1, 5, 0]


def test_pads_rows_to_the_longest_of_their_batch():
    batch = Collator(pad_token_id=9, segments=True, device=CPU)(FEATURES, np.array([2, 0]))
    assert batch.inputs["input_ids"].tolist() == [[3, 3, 3], [1, 9, 9]]
    assert batch.inputs["attention_mask"].tolist() == [[1, 1, 1], [1, 0, 0]]
    assert batch.inputs["token_type_ids"].tolist() == [[0, 1, 1], [0, 0, 0]]
    assert {tensor.dtype for tensor in batch.inputs.values()} == {torch.int64}
    assert (batch.labels.tolist(), batch.tokens, batch.items) == ([30, 10], 4, 2)
    assert batch.places.tolist() == [0, 1, 2, 3]


# Two rows of two sequences, of 1 and 2, and of 3 and 4 tokens.
CHOICES = Features({**FEATURES.tensors, "labels": np.array([1, 0])})


def test_a_batch_has_all_sequences_of_its_rows():
    batch = Collator(pad_token_id=9, segments=False, device=CPU)(CHOICES, np.array([1, 0]))
    assert batch.inputs["input_ids"].tolist() == [[3, 3, 3, 9], [4, 4, 4, 4], [1, 9, 9, 9], [2, 2, 9, 9]]
    assert (batch.labels.tolist(), batch.tokens, batch.items) == ([0, 1], 10, 2)
    assert items_of_rows(CHOICES, "rows").tolist() == [1, 1]
    assert CHOICES.subset(np.array([1])).tensors["input_ids"].tolist() == [3, 3, 3, 4, 4, 4, 4]


def test_batches_by_length_count_all_sequences_of_a_row():
    """The second row has two sequences padded to 4 tokens."""
    assert [rows.tolist() for rows in by_length(CHOICES, 15)] == [[1], [0]]
    assert [rows.tolist() for rows in by_length(CHOICES, 16)] == [[1, 0]]
    assert [rows.tolist() for rows in by_length(CHOICES, 16, 8)] == [[1], [0]]  # padded to 8


def test_pads_labels_of_tokens_with_ignore_index():
    tagged = Features({**FEATURES.tensors, "label_ids": np.array([-100, -100, 5, -100, 6, -100, -100, 7, 8, -100], np.int32)})
    batch = Collator(pad_token_id=9, segments=False, device=CPU, labels="tokens")(tagged, np.array([1, 3]))
    assert batch.labels.tolist() == [[-100, 5, -100, -100], [-100, 7, 8, -100]]
    assert (batch.items, batch.tokens, batch.labels.dtype) == (3, 6, torch.int64)


def test_labels_of_spans_are_first_and_last_token_and_padding_is_not_context():
    of_spans = {"start_positions": np.array([0, 0, 1, 2]), "end_positions": np.array([0, 1, 2, 3])}
    context = np.array([1, 2, 2, 2, 2, 1, 0, 1, 2, 1], np.uint8)
    windows = Features({**FEATURES.tensors, **of_spans, "context_marks": context})
    batch = Collator(pad_token_id=9, segments=False, device=CPU, labels="spans")(windows, np.array([2, 1]))
    assert batch.labels.tolist() == [[1, 2], [0, 1]]
    assert batch.context_marks.tolist() == [[2, 2, 1], [2, 2, 0]]
    assert (batch.items, batch.tokens, batch.labels.dtype) == (2, 5, torch.int64)


def test_the_last_row_is_complete():
    batch = Collator(pad_token_id=9, segments=False, device=CPU)(FEATURES, np.array([3, 1]))
    assert batch.inputs["input_ids"].tolist() == [[4, 4, 4, 4], [2, 2, 9, 9]]


def test_makes_token_type_ids_only_for_models_with_segments():
    assert "token_type_ids" not in Collator(pad_token_id=0, segments=False, device=CPU)(FEATURES, np.array([0])).inputs


def test_by_length_yields_every_row_once_longest_first():
    """At most 6 tokens with padding: one row of 4, two of up to 3, the rest. A row above the budget is a batch of its own."""

    def batches(*arguments):
        return [rows.tolist() for rows in by_length(FEATURES, *arguments)]

    assert batches(6) == [[3], [2, 1], [0]]
    assert batches(9) == [[3, 2], [1, 0]]
    assert batches(1) == [[3], [2], [1], [0]]
    assert batches(9, 4) == [[3, 2], [1, 0]]  # every row padded to 4


def test_bucketed_batches_have_rows_of_similar_length():
    lengths = np.random.default_rng(0).integers(3, 60, 1013)
    order = epoch_order(1013, seed=1, epoch=0)
    bucketed = bucketed_order(order, lengths, 8, seed=1, epoch=0)
    assert sorted(bucketed) == list(range(1013))
    assert bucketed.tolist() == bucketed_order(order, lengths, 8, seed=1, epoch=0).tolist()
    spread = [np.mean([np.ptp(lengths[batch]) for batch in slices(rows, 8)]) for rows in (order, bucketed)]
    assert spread[1] < spread[0] / 10
    means = [lengths[batch].mean() for batch in slices(bucketed, 8)]
    assert abs(np.corrcoef(np.arange(len(means)), means)[0, 1]) < 0.2  # long and short batches are mixed


def test_a_batch_that_is_not_full_stays_the_last():
    """Otherwise updates would begin at other rows."""
    lengths = np.arange(10)
    assert len(bucketed_order(np.arange(10), lengths, 4, seed=0, epoch=0)) == 10
    assert sorted(bucketed_order(np.arange(10), lengths, 4, seed=0, epoch=0)[8:]) == [8, 9]


def test_micro_batches_split_each_batch_from_long_to_short():
    rows, lengths = np.array([0, 1, 2, 3, 4]), np.array([5, 9, 7, 1, 3])
    assert [part.tolist() for part in micro_batches(rows, lengths, 3, 2)] == [[1, 2], [0], [4], [3]]
    assert [part.tolist() for part in micro_batches(rows, lengths, 3, 1)] == [[0, 1, 2], [3, 4]]


def test_pads_all_rows_to_a_fixed_length():
    batch = Collator(pad_token_id=9, segments=False, device=CPU, length=6)(FEATURES, np.array([1]))
    assert batch.inputs["input_ids"].tolist() == [[2, 2, 9, 9, 9, 9]]


def test_slices():
    assert [part.tolist() for part in slices(np.arange(5), 2)] == [[0, 1], [2, 3], [4]]


def test_shares_have_about_the_same_work():
    """Longest first, each to the share with the least work so far: 9, 4 and 3 against 8, 7 and 2."""
    parts = shares(np.array([2, 9, 4, 7, 8, 3]), 2)
    assert [part.tolist() for part in parts] == [[1, 2, 5], [0, 3, 4]]
    assert [part.tolist() for part in shares(np.array([5, 6]), 3)] == [[1], [0], []]
    assert [part.tolist() for part in shares(np.ones(5, np.int64), 2)] == [[0, 2, 4], [1, 3]]


def test_items_are_rows_or_labelled_tokens():
    labels = np.array([IGNORE_INDEX, 3, IGNORE_INDEX, IGNORE_INDEX, 0, 1])
    features = Features({"offsets": np.array([0, 3, 6]), "label_ids": labels})
    assert items_of_rows(features, "tokens").tolist() == [1, 2]
    assert items_of_rows(features, "rows").tolist() == [1, 1]
