"""A question on a context becomes windows: all of the question, and a part of the context that moves on by doc_stride tokens."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from processor.features import Frame
from src.data import IN_CONTEXT, MAX_CONTEXT, Tensors
from src.errors import ConfigError
from src.settings import Settings

CONTEXTS_PER_CALL = 512
NOWHERE = (-1, -1)


@dataclass(frozen=True, slots=True)
class SquadExample:
    """A question on a context and, where it is known, its answer: the text, and where its first character stands."""

    question: str
    context: str
    answer: tuple[str, int] | None = None


@dataclass(frozen=True)
class Tokens:
    """A context's N tokens: their `ids`, and the characters from `start` to `end` that each stands for; all int32 [N]."""

    ids: np.ndarray
    start: np.ndarray
    end: np.ndarray

    def between(self, start: int, end: int) -> tuple[int, int]:
        """The first and the last token that begin at a character in [start, end); NOWHERE where none does."""
        first, behind = np.searchsorted(self.start, [start, end])
        return (int(first), int(behind) - 1) if first < behind else NOWHERE


def require_overlap(settings: Settings, tokenizer: Any) -> None:
    """Raise ConfigError where doc_stride would pass over tokens that no window shows."""
    special = Frame.of(tokenizer, texts=2).size
    room = settings.max_seq_len - settings.max_query_length - special
    if settings.doc_stride > room:
        raise ConfigError(
            f"doc_stride = {settings.doc_stride} would skip tokens: max_seq_len = {settings.max_seq_len} less max_query_length = "
            f"{settings.max_query_length} less {special} special tokens leaves room for {room} tokens of the context. "
            "Say a smaller --doc_stride or --max_query_length, or a greater --max_seq_len."
        )


def encode(asked: Sequence[SquadExample], tokenizer: Any, settings: Settings) -> Tensors:
    """The windows of all questions in their order, at least one for each; see Features.

    Besides: `example_index` int32 [n], each window's question; `start_positions`, `end_positions` int32 [n], the answer's first
    and last token in the window, 0 where not all of it is there; `char_start`, `char_end` int32 [total], the characters of the
    context that a token stands for, -1 outside it; `context_marks` uint8 [total], OUTSIDE, INSIDE or BEST.
    """
    frame = Frame.of(tokenizer, texts=2)
    questions = _token_ids([each.question for each in asked], tokenizer)
    answers = _token_ids([each.answer[0] if each.answer else "" for each in asked], tokenizer)
    contexts = tokenize_contexts(dict.fromkeys(each.context for each in asked), tokenizer)
    parts: dict[str, list[np.ndarray]] = defaultdict(list)
    rows: list[tuple[int, int, int, int]] = []  # question, first and last token of the answer, length
    for index, each in enumerate(asked):
        tokens = contexts[each.context]
        question = questions[index][: settings.max_query_length]
        whole = _whole_row(question, tokens, frame)
        lead, tail = frame.size - len(frame.special[2]) + len(question), len(frame.special[2])
        first, last = answer_span(each, tokens, answers[index])
        windows = cut(len(tokens.ids), settings.max_seq_len - lead - tail, settings.doc_stride)
        for (start, end), marks in zip(windows, mark_context(windows), strict=True):
            keep = np.r_[0:lead, lead + start : lead + end, len(whole["input_ids"]) - tail : len(whole["input_ids"])]
            for name, values in whole.items():
                parts[name].append(values[keep])
            parts["context_marks"].append(np.pad(marks, (lead, tail)))
            shift = lead - start
            rows.append((index, *((first + shift, last + shift) if start <= first and last < end else (0, 0)), len(keep)))
    index, start_positions, end_positions, lengths = np.array(rows).T
    return {
        **{name: np.concatenate(parts.pop(name)) for name in list(parts)},  # one after the other: they are large
        "offsets": np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]),
        "example_index": index.astype(np.int32),
        "start_positions": start_positions.astype(np.int32),
        "end_positions": end_positions.astype(np.int32),
    }


def cut(tokens: int, room: int, stride: int) -> list[tuple[int, int]]:
    """Windows [start, end) of at most `room` over a context of so many tokens: one every `stride`, until one reaches its end."""
    windows = [(0, min(room, tokens))]
    while windows[-1][1] < tokens:
        start = windows[-1][0] + stride
        windows.append((start, min(start + room, tokens)))
    return windows


def mark_context(windows: Sequence[tuple[int, int]]) -> list[np.ndarray]:
    """For the tokens of each window uint8 marks: BEST where no other window of the context shows more around it, else INSIDE.

    The measure is that of BERT's SQuAD code: the lesser of the tokens to the left and to the right, and a hundredth of the
    window's length; of equals the first window. An answer's start counts only where it is BEST.
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
    return [each.astype(np.uint8) for each in marks]


def answer_span(asked: SquadExample, tokens: Tokens, answer_ids: Sequence[int]) -> tuple[int, int]:
    """The first and the last token of the answer in the context; NOWHERE where the answer is not known or has no tokens.

    As in BERT's SQuAD code: where the words that hold the answer contain its tokens, those; else the words as a whole, particles
    and all. What that costs is the ceiling of the scores.
    """
    if asked.answer is None:
        return NOWHERE
    text, start = asked.answer
    end = start + len(text.rstrip())
    start += len(text) - len(text.lstrip())
    while start > 0 and not asked.context[start - 1].isspace():
        start -= 1
    while end < len(asked.context) and not asked.context[end].isspace():
        end += 1
    first, last = tokens.between(start, end)
    for position in range(first, last - len(answer_ids) + 2):
        if first >= 0 and tokens.ids[position : position + len(answer_ids)].tolist() == list(answer_ids):
            return position, position + len(answer_ids) - 1
    return first, last


def tokenize_contexts(contexts: Iterable[str], tokenizer: Any) -> dict[str, Tokens]:
    """The tokens of each context; the white space at a token's ends does not count to its characters."""
    texts, found = list(contexts), {}
    for begin in range(0, len(texts), CONTEXTS_PER_CALL):
        chunk = texts[begin : begin + CONTEXTS_PER_CALL]
        rows = tokenizer(chunk, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
        for text, ids, offsets in zip(chunk, rows["input_ids"], rows["offset_mapping"], strict=True):
            start, end = np.array(offsets, np.int32).reshape(-1, 2).T
            solid = np.array([position for position, character in enumerate(text) if not character.isspace()], np.int32)
            # A token of nothing but white space stands at the character behind it.
            behind = np.append(solid, len(text))[np.searchsorted(solid, start)]
            before = np.append(solid + 1, 0)[np.searchsorted(solid, end) - 1]
            found[text] = Tokens(np.array(ids, np.int32), behind.astype(np.int32), np.maximum(before, behind).astype(np.int32))
    return found


def _token_ids(texts: Sequence[str], tokenizer: Any) -> list[list[int]]:
    found: list[list[int]] = tokenizer(list(texts), add_special_tokens=False, verbose=False)["input_ids"]
    return found


def _whole_row(question: Sequence[int], tokens: Tokens, frame: Frame) -> Tensors:
    """The row of a question and all of its context."""
    before, between, after = frame.special
    first, second = frame.segments
    pairs = [*before, *((token, first) for token in question), *between]
    lead, tail = np.array(pairs).reshape(-1, 2), np.array(after).reshape(-1, 2)

    def around(values: np.ndarray) -> np.ndarray:
        return np.pad(values, (len(lead), len(tail)), constant_values=-1)

    return {
        "input_ids": np.concatenate([lead[:, 0], tokens.ids, tail[:, 0]]).astype(np.int32),
        "token_type_ids": np.concatenate([lead[:, 1], np.full(len(tokens.ids), second), tail[:, 1]]).astype(np.uint8),
        "char_start": around(tokens.start),
        "char_end": around(tokens.end),
    }
