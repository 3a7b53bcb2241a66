"""Windows: each holds a question and a part of its context, and starts doc_stride tokens after the one before."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from src.data.hangul import compose, places_in
from src.data.special import SpecialTokens
from src.data.task import IN_CONTEXT, MAX_CONTEXT, Tensors
from src.settings.schema import Settings

CONTEXTS_PER_CALL = 512
NOWHERE = (-1, -1)


@dataclass(frozen=True, slots=True)
class SquadExample:
    """A question on a context and, if it is known, its answer: the text, and the position of its first character."""

    question: str
    context: str
    answer: tuple[str, int] | None = None


@dataclass(frozen=True)
class Tokens:
    """The N tokens of a context: `ids`, and the characters [start, end) of each in the context; all int32 [N].

    decomposed: whether the context has decomposed Hangul, see src.data.hangul.
    """

    ids: np.ndarray
    start: np.ndarray
    end: np.ndarray
    decomposed: bool = False

    def between(self, start: int, end: int) -> tuple[int, int]:
        """Return the first and the last token that begin at a character in [start, end); NOWHERE if there are none."""
        first, after = np.searchsorted(self.start, [start, end])
        return (int(first), int(after) - 1) if first < after else NOWHERE


def encode(examples: Sequence[SquadExample], tokenizer: Any, settings: Settings) -> Tensors:
    """Return the tensors of the windows of all questions in their order, at least one per question; see Features."""
    special = SpecialTokens.of(tokenizer, texts=2)
    questions = _token_ids([example.question for example in examples], tokenizer)
    questions_cut = np.array([max(len(question) - settings.max_query_length, 0) for question in questions], np.int32)
    answers = _token_ids([example.answer[0] if example.answer else "" for example in examples], tokenizer)
    contexts = tokenize_contexts(dict.fromkeys(example.context for example in examples), tokenizer)
    parts: dict[str, list[np.ndarray]] = defaultdict(list)
    rows: list[tuple[int, int, int, int]] = []  # question, first and last token of the answer, length
    for index, example in enumerate(examples):
        tokens = contexts[example.context]
        question = questions[index][: settings.max_query_length]
        whole = _whole_row(question, tokens, special)
        lead, tail = special.size - len(special.parts[2]) + len(question), len(special.parts[2])
        first, last = answer_span(example, tokens, answers[index])
        windows = cut(len(tokens.ids), settings.max_seq_len - lead - tail, settings.doc_stride)
        for (start, end), marks in zip(windows, mark_context(windows), strict=True):
            keep = np.r_[0:lead, lead + start : lead + end, len(whole["input_ids"]) - tail : len(whole["input_ids"])]
            for name, values in whole.items():
                parts[name].append(values[keep])
            parts["context_marks"].append(np.pad(marks, (lead, tail)))
            shift = lead - start
            rows.append((index, *((first + shift, last + shift) if start <= first and last < end else (0, 0)), len(keep)))
    index, start_positions, end_positions, lengths = np.array(rows).T
    decomposed = np.array(
        [compose(example.question) != example.question or contexts[example.context].decomposed for example in examples]
    )
    return {
        **{name: np.concatenate(parts.pop(name)) for name in list(parts)},  # frees each part when it is joined: they are large
        "offsets": np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]),
        "example_index": index.astype(np.int32),
        "start_positions": start_positions.astype(np.int32),
        "end_positions": end_positions.astype(np.int32),
        "cut": questions_cut[index],
        "decomposed": decomposed[index].astype(np.uint8),
    }


def cut(tokens: int, room: int, stride: int) -> list[tuple[int, int]]:
    """Return windows [start, end) of at most `room` tokens, one every `stride` tokens, until one reaches the context's end."""
    windows = [(0, min(room, tokens))]
    while windows[-1][1] < tokens:
        start = windows[-1][0] + stride
        windows.append((start, min(start + room, tokens)))
    return windows


def mark_context(windows: Sequence[tuple[int, int]]) -> list[np.ndarray]:
    """Return the marks of each window's tokens, uint8: MAX_CONTEXT in the window that shows most context, else IN_CONTEXT.

    As in the SQuAD script of BERT, the context of a token is the smaller number of tokens to its left or right, plus a hundredth
    of the window's length; of equal windows the first counts. An answer may begin only at MAX_CONTEXT.
    """
    best_score = np.full(windows[-1][1], -1.0)
    owner = np.zeros(windows[-1][1], np.int64)
    for number, (start, end) in enumerate(windows):
        left = np.arange(end - start)
        score = np.minimum(left, left[::-1]) + 0.01 * (end - start)
        better = score > best_score[start:end]
        best_score[start:end][better] = score[better]
        owner[start:end][better] = number
    marks = [np.where(owner[start:end] == number, MAX_CONTEXT, IN_CONTEXT) for number, (start, end) in enumerate(windows)]
    return [window_marks.astype(np.uint8) for window_marks in marks]


def answer_span(example: SquadExample, tokens: Tokens, answer_ids: Sequence[int]) -> tuple[int, int]:
    """Return the first and the last token of the answer in the context; NOWHERE if the answer is unknown or has no tokens.

    As in the SQuAD script of BERT: the answer's tokens, if the words that contain the answer contain them; else the words as a
    whole, particles included. This is what limits the upper bound of the scores.
    """
    if example.answer is None:
        return NOWHERE
    text, start = example.answer
    end = start + len(text.rstrip())
    start += len(text) - len(text.lstrip())
    while start > 0 and not example.context[start - 1].isspace():
        start -= 1
    while end < len(example.context) and not example.context[end].isspace():
        end += 1
    first, last = tokens.between(start, end)
    for position in range(first, last - len(answer_ids) + 2):
        if first >= 0 and tokens.ids[position : position + len(answer_ids)].tolist() == list(answer_ids):
            return position, position + len(answer_ids) - 1
    return first, last


def tokenize_contexts(contexts: Iterable[str], tokenizer: Any) -> dict[str, Tokens]:
    """Return the tokens of each context; white space at the ends of a token is not part of its characters."""
    originals, tokens = list(contexts), {}
    for begin in range(0, len(originals), CONTEXTS_PER_CALL):
        chunk = originals[begin : begin + CONTEXTS_PER_CALL]
        texts = [compose(original) for original in chunk]
        rows = tokenizer(texts, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
        for original, text, ids, offsets in zip(chunk, texts, rows["input_ids"], rows["offset_mapping"], strict=True):
            start, end = np.array(offsets, np.int32).reshape(-1, 2).T
            solid = np.array([position for position, character in enumerate(text) if not character.isspace()], np.int32)
            # A token of white space alone starts at the next character that is not white space, and is empty.
            start = np.append(solid, len(text))[np.searchsorted(solid, start)]
            end = np.append(solid + 1, 0)[np.searchsorted(solid, end) - 1]
            end = np.maximum(end, start)
            if text != original:
                places = places_in(original)
                start, end = places[start], places[end]
            tokens[original] = Tokens(np.array(ids, np.int32), start.astype(np.int32), end.astype(np.int32), text != original)
    return tokens


def _token_ids(texts: Sequence[str], tokenizer: Any) -> list[list[int]]:
    ids: list[list[int]] = tokenizer([compose(text) for text in texts], add_special_tokens=False, verbose=False)["input_ids"]
    return ids


def _whole_row(question: Sequence[int], tokens: Tokens, special: SpecialTokens) -> Tensors:
    """Return the row of a question and all of its context, not cut into windows."""
    before, between, after = special.parts
    first, second = special.segments
    lead = np.array([*before, *((token, first) for token in question), *between]).reshape(-1, 2)
    tail = np.array(after).reshape(-1, 2)

    def pad(values: np.ndarray) -> np.ndarray:
        return np.pad(values, (len(lead), len(tail)), constant_values=-1)

    return {
        "input_ids": np.concatenate([lead[:, 0], tokens.ids, tail[:, 0]]).astype(np.int32),
        "token_type_ids": np.concatenate([lead[:, 1], np.full(len(tokens.ids), second), tail[:, 1]]).astype(np.uint8),
        "char_start": pad(tokens.start),
        "char_end": pad(tokens.end),
    }
