"""Decomposed Hangul: syllables written as conjoining jamo (Unicode's NFD), as macOS writes them. They look like any others.

Vocabularies have composed syllables only, so such a text would be unknown to a model. It is composed wherever text becomes ids.
Nothing else of a text is normalized, so that the ids of all other texts stay as published.
"""

import re
import unicodedata
from collections.abc import Sequence
from itertools import chain

import numpy as np

OPEN_SYLLABLES = "".join(map(chr, range(ord("가"), ord("힣") + 1, 28)))  # without a final consonant: 가, 개, 갸 ...
# What NFC turns into one syllable: two or three jamo, or an open syllable and a final consonant (가 + U+11A8 is 각). The jamo of
# ㅋㅋ are others: they are letters by themselves.
DECOMPOSED = re.compile(f"[\u1100-\u1112][\u1161-\u1175][\u11a8-\u11c2]?|[{OPEN_SYLLABLES}][\u11a8-\u11c2]")
VOWEL_OR_FINAL = re.compile("[\u1161-\u11c2]")  # one is in every match of DECOMPOSED; found five times as fast


def compose(text: str) -> str:
    """Return `text` with its decomposed syllables composed; the same object if there are none."""
    if not VOWEL_OR_FINAL.search(text):
        return text
    return DECOMPOSED.sub(lambda syllable: unicodedata.normalize("NFC", syllable[0]), text)


def compose_rows(rows: Sequence[Sequence[str]]) -> tuple[Sequence[Sequence[str]], np.ndarray]:
    """Return n rows of texts with their syllables composed, and which rows that has changed, uint8 [n]."""
    if not VOWEL_OR_FINAL.search("\n".join(chain.from_iterable(rows))):  # one search for all rows: nearly all files have none
        return rows, np.zeros(len(rows), np.uint8)
    composed = [[compose(text) for text in texts] for texts in rows]
    return composed, np.array([new != list(old) for new, old in zip(composed, rows, strict=True)], np.uint8)


def places_in(text: str) -> np.ndarray:
    """Return where each character of `compose(text)` begins in `text`, and last the length of `text`; int32 [m + 1]."""
    begins = np.ones(len(text) + 1, bool)
    for syllable in DECOMPOSED.finditer(text):
        begins[syllable.start() + 1 : syllable.end()] = False
    return np.flatnonzero(begins).astype(np.int32)
