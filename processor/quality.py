"""Checks of a split's features before training: how much of its texts reaches the model.

The figures of every split are recorded in settings.json. A figure above its limit is a warning; a split without any known token,
or a training file whose rows all look the same to the model, is an error.
"""

import logging
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from src.common.errors import DataError
from src.data.special import SpecialTokens
from src.data.task import Features

logger = logging.getLogger(__name__)

Figures = dict[str, int]

MOST = 0.5  # of the training file's tokens: from this share on, what is unknown or taken apart is an error, not a warning
HANGUL_LETTER = re.compile("[\u1100-\u11ff]")  # of a decomposed syllable; texts have composed ones, see src.data.hangul


@dataclass(frozen=True)
class Limit:
    """The share from which a figure is a warning. of: the figure that it is a part of. meaning: what it means and what to do."""

    figure: str
    of: str
    share: float
    meaning: str


# Shares of the eight tasks: with the vocabulary of KoELECTRA and the published max_seq_len.
LIMITS = (
    # The eight tasks: at most 1.8% (KorQuAD). The vocabulary of the sample, which fits none of them: 9% to 21%. A vocabulary that
    # fits, but whose tokenizer strips accents, which takes Hangul apart: 58% to 90%.
    Limit(
        "unknown_tokens",
        "tokens",
        0.05,
        "are unknown to the tokenizer, so the model cannot read them. Check that the file and the tokenizer are of the same "
        "language and kind of text, and --do_lower_case",
    ),
    # The eight tasks: at most 0.004% (NSMC's blank reviews).
    Limit(
        "empty_rows",
        "rows",
        0.01,
        "lack a text: the model sees special tokens in its place. Check the columns of the file: python3 -m processor.check "
        "lists such rows",
    ),
    # The eight tasks: at most 1.2% (PAWS). From a tenth on, the length limits the score.
    Limit(
        "cut_rows",
        "rows",
        0.1,
        "are too long and lose their end. Raise --max_seq_len or, for questions, --max_query_length, if the model allows it",
    ),
    # The eight tasks: none.
    Limit(
        "decomposed_rows",
        "rows",
        0,
        "have decomposed Hangul (NFD, as macOS writes it). The model reads it composed; prediction files show it as it is. If "
        "other programs read the file, convert it to NFC",
    ),
)


def measure(features: Features, tokenizer: Any, special: SpecialTokens) -> Figures:
    """Return the figures of features: `rows` (sequences), `tokens` except the special ones, and one for each of LIMITS."""
    ids, offsets = features.tensors["input_ids"], features.tensors["offsets"]
    rows, unknown = len(offsets) - 1, tokenizer.unk_token_id
    in_parts = sum(token == unknown for part in special.parts for token, _ in part)
    return {
        "rows": rows,
        "tokens": len(ids) - rows * special.size,
        "unknown_tokens": 0 if unknown is None else int(np.count_nonzero(ids == unknown)) - rows * in_parts,
        "empty_rows": int(np.count_nonzero(lack_a_text(ids, offsets, special))),
        "cut_rows": int(np.count_nonzero(features.tensors["cut"])),
        "decomposed_rows": int(np.count_nonzero(features.tensors["decomposed"])),
    }


def lack_a_text(ids: np.ndarray, offsets: np.ndarray, special: SpecialTokens) -> np.ndarray:
    """Return which rows have no tokens of a text, bool [n]: there, two parts of the special tokens are side by side."""
    before, *between, after = special.parts
    if not between or not between[0]:
        return np.diff(offsets) == special.size
    (first, _), (last, _) = between[0][0], between[0][-1]
    return (ids[offsets[:-1] + len(before)] == first) | (ids[offsets[1:] - len(after) - 1] == last)


def require_content(split: str, path: Path, features: Features, figures: Figures, tokenizer: Any) -> None:
    """Raise DataError if no token is known, or if nothing can be learned from "train".

    That is, if most of its tokens are unknown or letters of syllables, or all of two or more rows have the same tokens.
    """
    tokens, unknown = figures["tokens"], figures["unknown_tokens"]
    if tokens <= unknown:
        raise DataError(
            f"{split}: {path}: no row has a token that the tokenizer knows: nothing can be learned from it or scored on it. "
            "Check the texts of the file, and that the tokenizer is made for their language."
        )
    if split != "train":
        return
    if unknown >= MOST * tokens:
        raise DataError(
            f"{split}: {path}: {unknown:,} of {tokens:,} tokens ({unknown / tokens:.0%}) are unknown to the tokenizer: little "
            "can be learned from them. Choose a model that is made for their language, or check the encoding of the file."
        )
    letters = _count_letters(features, tokenizer)
    if letters >= MOST * tokens:
        raise DataError(
            f"{split}: {path}: {letters:,} of {tokens:,} tokens ({letters / tokens:.0%}) are letters of Hangul syllables: the "
            "tokenizer takes syllables apart, as lower-casing with accent stripping does. Try --do_lower_case false or, for "
            'ALBERT, "keep_accents": true in tokenizer_config.json.'
        )
    if figures["rows"] > 1 and _are_all_equal(features):
        raise DataError(
            f"{split}: {path}: all {figures['rows']:,} rows have the same tokens: nothing can be learned from them. Check the "
            "texts of the file, and that the tokenizer is made for their language."
        )


def _count_letters(features: Features, tokenizer: Any) -> int:
    """Return the number of tokens that begin or end within a syllable of Hangul."""
    letters = [token for piece, token in tokenizer.get_vocab().items() if HANGUL_LETTER.search(piece)]
    return int(np.isin(features.tensors["input_ids"], letters).sum()) if letters else 0


def _are_all_equal(features: Features) -> bool:
    ids, lengths = features.tensors["input_ids"], features.sequence_lengths
    return bool((lengths == lengths[0]).all() and (ids.reshape(len(lengths), -1) == ids[: lengths[0]]).all())


def warnings_of(figures: Figures, unit: str) -> list[str]:
    """Return a line for every figure that reaches its limit. unit: what a row of the features is called."""
    lines = []
    for limit in LIMITS:
        count, total = figures[limit.figure], figures[limit.of]
        if count and count >= limit.share * total:
            of = f"{unit}s" if limit.of == "rows" else limit.of
            warned = f", warned from {limit.share:.0%}" if limit.share else ""
            lines.append(f"{count:,} of {total:,} {of} ({count / total:.1%}{warned}) {limit.meaning}.")
    return lines
