import unicodedata

import numpy as np
import pytest
from transformers import BertTokenizer

from processor.squad import find_answers, probabilities
from processor.squad_legacy import legacy_text, realign
from processor.squad_windows import SquadExample, encode
from tests.conftest import SAMPLE
from tests.processor.helpers import NONE, spans


def test_answers_are_characters_of_the_context(tokenizer, settings):
    context = "《ab》  (cd)를"
    tensors = encode([SquadExample("e", context)], tokenizer, settings("korquad"))
    starts = tensors["char_start"].tolist()
    first, last = starts.index(context.index("《")), starts.index(context.index(")"))
    (candidates,) = find_answers([context], tensors, spans([(first, last, 1.0, 2.0)]), settings("korquad"))
    assert [(candidate.text, candidate.start, candidate.end) for candidate in candidates] == [("《ab》  (cd)", 0, 10)]
    assert (candidates[0].start_logit, candidates[0].end_logit) == (1.0, 2.0)


def test_merges_windows_and_keeps_each_text_once(tokenizer, settings):
    """Two windows over a b c d a: tokens a b c d, and c d a. The question is one token, the context starts at 3."""
    chosen = settings("korquad", max_seq_len=8, doc_stride=2, max_query_length=1)
    examples = [SquadExample("e", "a b c d a"), SquadExample("e", "b")]
    tensors = encode(examples, tokenizer, chosen)
    assert tensors["example_index"].tolist() == [0, 0, 1]
    rows = spans(
        [(3, 3, 1.0, 1.0), (4, 5, 0.5, 1.0)],  # "a", "b c"
        [(5, 5, 4.0, 1.0), (3, 4, 1.0, 0.0)],  # "a" again, better; "c d"
        [NONE, NONE],
    )
    first, second = find_answers([example.context for example in examples], tensors, rows, chosen)
    assert [(candidate.text, candidate.start) for candidate in first] == [("a", 8), ("b c", 2), ("c d", 4)]
    assert second == []
    assert probabilities(first) == pytest.approx([np.exp(5) / total for total in [np.exp(5) + np.exp(1.5) + np.e]] + [
        np.exp(1.5) / (np.exp(5) + np.exp(1.5) + np.e), np.e / (np.exp(5) + np.exp(1.5) + np.e),
    ])  # fmt: skip
    fewer = settings("korquad", n_best_size=2)
    assert len(find_answers([example.context for example in examples], tensors, rows, fewer)[0]) == 2


@pytest.mark.parametrize(("threshold", "expected"), [(0.0, ["", "ab", ""]), (1.5, ["ab", "ab", ""]), (-3.0, ["", "", ""])])
def test_no_answer_is_given_if_its_score_is_above_the_best(tokenizer, settings, threshold, expected):
    """Scores of the best answer and of none: 2 and 3, the lower of two windows; 5 and 3; and none at all."""
    chosen = settings("korquad", max_seq_len=8, doc_stride=2, max_query_length=1)
    chosen = chosen.model_copy(update={"version_2_with_negative": True, "null_score_diff_threshold": threshold})
    examples = [SquadExample("e", "ab ab cd"), SquadExample("e", "ab"), SquadExample("e", "cd")]
    tensors = encode(examples, tokenizer, chosen)
    windows = np.bincount(tensors["example_index"]).tolist()
    assert windows[1:] == [1, 1] and windows[0] > 1
    rows = spans(
        *[[(3, 4, 1.0, 1.0), (0, 0, 4.0, 4.0)]] * (windows[0] - 1),
        [NONE, (0, 0, 1.0, 2.0)],
        [(3, 4, 4.0, 1.0), (0, 0, 2.0, 1.0)],
        [NONE, (0, 0, 0.0, 0.0)],
    )
    found = find_answers([example.context for example in examples], tensors, rows, chosen)
    assert [candidates[0].text for candidates in found] == expected
    assert [sorted(candidate.text for candidate in candidates) for candidates in found] == [["", "ab"], ["", "ab"], [""]]
    assert probabilities(found[1])[found[1][0].text == ""] == pytest.approx(np.exp(5) / (np.exp(5) + np.exp(3)))


@pytest.mark.parametrize(
    ("joined", "words", "spaced", "expected"),
    [
        ("steve smith", "Steve Smith's", "steve smith ' s", "Steve Smith"),
        ("서울", "서울", "서울", "서울"),
        ("토지 》", "《토지》를", "《 토지 》 를", "토지》"),  # the tokenizer's space is not in the answer
        ("[UNK] 시", "뷁 시", "뷁 시", "뷁 시"),  # the tokens are not in the words: all words
        ("resume", "Résumé", "resume", "Résumé"),
        ("cafe", "cafe\u0301s", "cafes", "cafe\u0301s"),  # without the accent positions cannot be compared
        ("", "서울은", "서울은", "서울은"),
    ],
)
def test_realigns(joined, words, spaced, expected):
    assert realign(joined, words, spaced) == expected


@pytest.mark.parametrize(
    ("context", "start", "end", "expected"),
    [
        ("ab  cd.", 0, 7, "ab cd."),  # words joined by one space
        ("ab cd.", 3, 5, "cd"),  # the full stop is a token
    ],
)
def test_legacy_answers_from_tokens(tokenizer, context, start, end, expected):
    rows = tokenizer(context, add_special_tokens=False, return_offsets_mapping=True)
    ids = [token for token, (begin, _) in zip(rows["input_ids"], rows["offset_mapping"], strict=True) if start <= begin < end]
    assert legacy_text(tokenizer, do_lower_case=False)(context, start, end, ids) == expected


def test_legacy_answer_of_a_span_that_begins_inside_a_word(tokenizer):
    """Its tokens begin with ##, which is not in the text: the answer is the whole word."""
    ids = tokenizer("abc", add_special_tokens=False)["input_ids"]
    assert legacy_text(tokenizer, do_lower_case=False)("abc", 1, 3, ids[1:]) == "abc"


def test_legacy_answer_in_decomposed_hangul():
    """The tokens are composed: they are found in the composed words."""
    tokenizer = BertTokenizer.from_pretrained(SAMPLE / "tiny-electra")
    context = unicodedata.normalize("NFD", "서울.")
    ids = tokenizer("서울", add_special_tokens=False)["input_ids"]
    assert legacy_text(tokenizer, do_lower_case=False)(context, 0, len(context) - 1, ids) == "서울"
