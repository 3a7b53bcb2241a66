"""The special tokens that a tokenizer puts around the texts of a row."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class SpecialTokens:
    """The special tokens that a tokenizer puts around a row's texts.

    parts: (id, segment) of the special tokens before the first text, after it, and so on. segments: the segment of each text.
    """

    parts: tuple[tuple[tuple[int, int], ...], ...]
    segments: tuple[int, ...]

    @property
    def size(self) -> int:
        """Number of special tokens in a row."""
        return sum(len(part) for part in self.parts)

    @property
    def has_segments(self) -> bool:
        """Whether any token of a row is in a segment other than 0."""
        return self.highest_segment > 0

    @property
    def highest_segment(self) -> int:
        """The highest segment of a token of a row."""
        return max([*self.segments, *(segment for part in self.parts for _, segment in part)])

    def row(self, tokens: Sequence[int]) -> tuple[list[int], list[int]]:
        """Return the ids and the segments of a row that has these tokens (ids), about the same number in each text."""
        size = -(-len(tokens) // len(self.segments))
        ids, segments = [], []
        for number, part in enumerate(self.parts):
            own = tokens[size * (number - 1) : size * number] if number else []
            ids += [*own, *(token for token, _ in part)]
            segments += [*[self.segments[number - 1]] * len(own), *(segment for _, segment in part)]
        return ids, segments

    @classmethod
    def of(cls, tokenizer: Any, texts: int) -> "SpecialTokens":
        """Return the special tokens of rows of one or two texts, read off a row of one syllable per text."""
        row = tokenizer(*[["가"]] * texts, is_split_into_words=True, return_token_type_ids=True)
        special: list[list[tuple[int, int]]] = [[] for _ in range(texts + 1)]
        segments: dict[int, int] = {}
        for token, segment, text in zip(row["input_ids"], row["token_type_ids"], row.sequence_ids(), strict=True):
            if text is None:
                special[len(segments)].append((token, segment))
            else:
                segments[text] = segment
        return cls(tuple(tuple(part) for part in special), tuple(segments.values()))
