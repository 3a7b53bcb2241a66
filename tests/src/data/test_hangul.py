import itertools
import random
import unicodedata

import numpy as np
import pytest

from src.data.hangul import compose, compose_rows, places_in

JAMO = [*"\u1100\u1112\u1113\u1161\u1175\u1176\u11a7\u11a8\u11c2\u11c3\ua960\ud7b0\ud7cb"]
ALPHABET = [*JAMO, *"가각힣개 aㅋㅏ."]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("\u1112\u1161\u11ab\u1100\u1173\u11af", "한글"),
        ("가\u11a8", "각"),  # an open syllable and a final consonant
        ("각\u11a8", "각\u11a8"),
        ("a\u1112\u1161\u11ab ㅋㅋ", "a한 ㅋㅋ"),
        ("e\u0301 \u1112\u1161", "e\u0301 하"),  # other characters are not normalized
    ],
)
def test_composes_syllables_alone(text, expected):
    assert compose(text) == expected


@pytest.mark.parametrize("text", ["", "한글 ㅋㅋㅋ e\u0301 \uf900 ①", "\u1112", "그건\u119e\u11a2\u11a2"])
def test_other_texts_stay_as_they_are(text):
    assert compose(text) is text
    assert places_in(text).tolist() == list(range(len(text) + 1))


def test_composes_as_unicode_does_and_knows_the_places():
    letters = random.Random(0)
    for _ in range(3000):
        text = "".join(letters.choices(ALPHABET, k=8))
        composed, places = compose(text), places_in(text)
        assert composed == unicodedata.normalize("NFC", text)
        assert [compose(text[start:end]) for start, end in itertools.pairwise(places)] == list(composed)
        assert (places[0], places[-1], places.dtype) == (0, len(text), np.int32)


def test_composes_rows_and_marks_those_that_change():
    rows = [("한글", "a"), ("b", "\u1112\u1161"), ("\u1112", "c")]
    composed, changed = compose_rows(rows)
    assert [tuple(texts) for texts in composed] == [("한글", "a"), ("b", "하"), ("\u1112", "c")]
    assert (changed.tolist(), changed.dtype) == ([0, 1, 0], np.uint8)
    plain = [["한글"], ["ㅋㅋ"]]
    composed, changed = compose_rows(plain)
    assert composed is plain
    assert changed.tolist() == [0, 0]
