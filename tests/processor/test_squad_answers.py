import numpy as np
import pytest

from processor.squad_answers import find_answers, legacy_text, probabilities, realign
from processor.squad_windows import SquadExample, encode
from tests.processor.helpers import NONE, spans


def test_answers_are_cut_from_the_context_by_characters(tokenizer, settings):
    context = "《ab》  (cd)를"
    tensors = encode([SquadExample("e", context)], tokenizer, settings("korquad"))
    starts = tensors["char_start"].tolist()
    first, last = starts.index(context.index("《")), starts.index(context.index(")"))
    (found,) = find_answers([context], tensors, spans([(first, last, 1.0, 2.0)]), 20)
    assert [(each.text, each.start, each.end) for each in found] == [("《ab》  (cd)", 0, 10)]
    assert (found[0].start_logit, found[0].end_logit) == (1.0, 2.0)


def test_the_best_of_all_windows_wins_and_texts_come_once(tokenizer, settings):
    """Two windows over a b c d a: tokens a b c d, and c d a. The question is one token, the context starts at 3."""
    chosen = settings("korquad", max_seq_len=8, doc_stride=2, max_query_length=1)
    asked = [SquadExample("e", "a b c d a"), SquadExample("e", "b")]
    tensors = encode(asked, tokenizer, chosen)
    assert tensors["example_index"].tolist() == [0, 0, 1]
    rows = spans(
        [(3, 3, 1.0, 1.0), (4, 5, 0.5, 1.0)],  # "a", "b c"
        [(5, 5, 4.0, 1.0), (3, 4, 1.0, 0.0)],  # "a" again, better; "c d"
        [NONE, NONE],
    )
    first, second = find_answers([each.context for each in asked], tensors, rows, 20)
    assert [(each.text, each.start) for each in first] == [("a", 8), ("b c", 2), ("c d", 4)]
    assert second == []
    assert probabilities(first) == pytest.approx([np.exp(5) / total for total in [np.exp(5) + np.exp(1.5) + np.e]] + [
        np.exp(1.5) / (np.exp(5) + np.exp(1.5) + np.e), np.e / (np.exp(5) + np.exp(1.5) + np.e),
    ])  # fmt: skip
    assert len(find_answers([each.context for each in asked], tensors, rows, 2)[0]) == 2


@pytest.mark.parametrize(
    ("joined", "words", "spaced", "expected"),
    [
        ("steve smith", "Steve Smith's", "steve smith ' s", "Steve Smith"),
        ("서울", "서울", "서울", "서울"),
        ("토지 》", "《토지》를", "《 토지 》 를", "토지》"),  # the space that the tokenizer put is not in the answer
        ("[UNK] 시", "뷁 시", "뷁 시", "뷁 시"),  # pieces that are not in the words: all of them
        ("resume", "Résumé", "resume", "Résumé"),
        ("cafe", "cafe\u0301s", "cafes", "cafe\u0301s"),  # an accent is gone: the positions cannot be compared
        ("", "서울은", "서울은", "서울은"),
    ],
)
def test_by_hand(joined, words, spaced, expected):
    assert realign(joined, words, spaced) == expected


@pytest.mark.parametrize(
    ("context", "start", "end", "expected"),
    [
        ("ab  cd.", 0, 7, "ab cd."),  # the words with one space between them
        ("ab cd.", 3, 5, "cd"),  # the full stop is a piece of its own
    ],
)
def test_answers_from_pieces(tokenizer, context, start, end, expected):
    rows = tokenizer(context, add_special_tokens=False, return_offsets_mapping=True)
    ids = [token for token, (begin, _) in zip(rows["input_ids"], rows["offset_mapping"], strict=True) if start <= begin < end]
    assert legacy_text(tokenizer, do_lower_case=False)(context, start, end, ids) == expected


def test_a_span_that_begins_inside_a_word(tokenizer):
    """Its pieces begin with ##, which no text holds: the word as a whole."""
    found = legacy_text(tokenizer, do_lower_case=False)("abc", 1, 3, tokenizer("abc", add_special_tokens=False)["input_ids"][1:])
    assert found == "abc"
