import numpy as np
import pytest

from processor.definition import TASKS
from processor.seq_features import ROWS_PER_CALL, SequenceExample, encode, longest_first


def rows_of(tensors, name="input_ids"):
    return [part.tolist() for part in np.split(tensors[name], tensors["offsets"][1:-1])]


def test_encodes_ids_segments_and_labels(tokenizer):
    pairs = encode([SequenceExample(("a b", "c"), "0"), SequenceExample(("", "c"), "1")], TASKS["paws"], tokenizer, 128)
    assert rows_of(pairs) == [[2, 5, 6, 3, 7, 3], [2, 3, 7, 3]]
    assert rows_of(pairs, "token_type_ids") == [[0, 0, 0, 0, 1, 1], [0, 0, 1, 1]]
    assert pairs["labels"].tolist() == [0, 1]
    assert (pairs["cut"].tolist(), pairs["decomposed"].tolist()) == ([0, 0], [0, 0])
    dtypes = {"input_ids": "int32", "token_type_ids": "uint8", "offsets": "int64", "labels": "int64"}
    assert {name: str(tensor.dtype) for name, tensor in pairs.items()} == dtypes | {"cut": "int32", "decomposed": "uint8"}


def test_encodes_a_blank_text_as_cls_sep(tokenizer):
    tensors = encode([SequenceExample(("",), "0"), SequenceExample(("a",), "1")], TASKS["nsmc"], tokenizer, 128)
    assert rows_of(tensors) == [[2, 3], [2, 5, 3]]


def test_encodes_scores_as_float32(tokenizer):
    tensors = encode([SequenceExample(("a", "b"), 3.8)], TASKS["korsts"], tokenizer, 128)
    assert (tensors["labels"].dtype, tensors["labels"].tolist()) == (np.float32, [np.float32(3.8)])


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (("a a a a a", "b"), [2, 5, 5, 5, 3, 6, 3]),  # the longer one is cut
        (("a", "b b b b b"), [2, 5, 3, 6, 6, 6, 3]),
        (("a a a", "b b b"), [2, 5, 5, 3, 6, 6, 3]),  # of equals the second, then the first
        (("a a", "b b b"), [2, 5, 5, 3, 6, 6, 3]),
        (("a a a a", "b b b b b b"), [2, 5, 5, 3, 6, 6, 3]),
    ],
)
def test_cuts_pairs_as_the_original(tokenizer, texts, expected):
    tensors = encode([SequenceExample(texts, "0")], TASKS["paws"], tokenizer, 7)
    assert rows_of(tensors) == [expected]
    assert tensors["cut"].tolist() == [sum(len(text.split()) for text in texts) + 3 - 7]


def test_cuts_the_second_of_two_texts_of_the_same_length(tokenizer):
    assert rows_of(encode([SequenceExample(("a a a", "b b b"), "0")], TASKS["paws"], tokenizer, 8)) == [[2, 5, 5, 5, 3, 6, 6, 3]]
    assert longest_first([None, 0, 0, None, 1, 1, None], 6) == [0, 1, 2, 3, 4, 6]


def test_cuts_one_text_at_its_end(tokenizer):
    assert rows_of(encode([SequenceExample(("a b c d e a",), "0")], TASKS["nsmc"], tokenizer, 5)) == [[2, 5, 6, 7, 3]]


def test_encodes_more_rows_than_one_call_takes(tokenizer):
    examples = [SequenceExample(("abcde"[row % 5],), "0") for row in range(ROWS_PER_CALL + 3)]
    tensors = encode(examples, TASKS["nsmc"], tokenizer, 128)
    assert rows_of(tensors)[-3:] == [[2, 5 + row % 5, 3] for row in range(ROWS_PER_CALL, ROWS_PER_CALL + 3)]
