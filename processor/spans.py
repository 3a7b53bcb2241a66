"""Two marked spans of a text, as in KLUE-RE: the relation between them is the label."""

from collections.abc import Sequence
from typing import Any

from src.common.errors import quote_json
from src.data.task import SPAN_MARKS


def mark_spans(text: str, names: Sequence[str], values: Sequence[Any]) -> str:
    """Return a text with its two spans marked: "<subj>비틀즈</subj>는 영국의 <obj>밴드</obj>이다".

    values: indices of the first and last character of the subject, then of the object, both inclusive, from 0; names: their
    columns, for messages. No spaces are added. Raises ValueError if an index is not an integer or is out of range, or if a span
    ends before it begins.
    """
    places = [_place(name, value, len(text)) for name, value in zip(names, values, strict=True)]
    marks = []  # (position, closing marks first, mark)
    for begin, end, number in ((*places[:2], 0), (*places[2:], 2)):
        if end < begin:
            raise ValueError(f"{names[number]}: found a span from {begin} to {end}, expected its first and its last character")
        marks += [(begin, 1, SPAN_MARKS[number]), (end + 1, 0, SPAN_MARKS[number + 1])]
    for position, _, mark in sorted(marks, reverse=True):
        text = f"{text[:position]}{mark}{text[position:]}"
    return text


def require_marks(name: str, text: str) -> str:
    """Return `text` if its spans are marked. Raises ValueError if a mark is missing, or occurs twice."""
    if wrong := [mark for mark in SPAN_MARKS if text.count(mark) != 1]:
        raise ValueError(f"{name}: expected {wrong[0]} once; the spans of a text are marked as in {' ... '.join(SPAN_MARKS)}")
    return text


def _place(name: str, value: Any, length: int) -> int:
    is_number = isinstance(value, int) and not isinstance(value, bool)
    if not is_number and not (isinstance(value, str) and value.strip().isdecimal()):
        raise ValueError(f"{name}: found {quote_json(value)}, expected the number of a character, from 0")
    if not 0 <= (place := int(value)) < length:
        raise ValueError(f"{name}: found {place}, but the text has the characters 0 to {length - 1}")
    return place
