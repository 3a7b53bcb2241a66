"""Answers from the best spans of windows: the span's characters or, to reproduce published KorQuAD scores, text from its tokens.

The SQuAD script of BERT joins the tokens of a span and looks for that text in the words it comes from. If the tokenizer changes
a character, or the span begins inside a word, the answer is the whole words, particles included.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from processor.split import softmax
from src.data.features import Tensors
from src.data.hangul import compose

SpanText = Callable[[str, int, int, Sequence[int]], str]  # context, start, end, token ids of a span -> answer


@dataclass(frozen=True, slots=True)
class Candidate:
    """A candidate for an answer: its text, its characters [start, end) in the context, and its logits."""

    text: str
    start: int
    end: int
    start_logit: float
    end_logit: float


def find_answers(
    contexts: Sequence[str], tensors: Tensors, spans: np.ndarray, n_best: int, span_text: SpanText | None = None
) -> list[list[Candidate]]:
    """Return for every question at most `n_best` candidates with different texts, best first, from the spans of its windows.

    contexts: one per question. tensors: those of the windows, see Features. spans: float32 [n, k, 4], the first and last token
    in the window and their logits, -inf for no span; see src.model.heads.best_spans. span_text: None for the span's characters.
    """
    first_windows = np.searchsorted(tensors["example_index"], np.arange(len(contexts) + 1))
    answers = []
    for number, context in enumerate(contexts):
        windows = np.arange(first_windows[number], first_windows[number + 1])
        offsets = np.repeat(tensors["offsets"][windows], spans.shape[1])
        first, last, start_logit, end_logit = spans[windows].reshape(-1, 4).T
        scores = start_logit + end_logit
        candidates: dict[str, Candidate] = {}
        for span in np.argsort(-scores, kind="stable"):
            if len(candidates) == n_best or not np.isfinite(scores[span]):
                break
            first_token, last_token = int(offsets[span] + first[span]), int(offsets[span] + last[span])
            start, end = int(tensors["char_start"][first_token]), int(tensors["char_end"][last_token])
            text = context[start:end]
            if span_text and text:
                text = span_text(context, start, end, tensors["input_ids"][first_token : last_token + 1].tolist())
            if text and text not in candidates:
                candidates[text] = Candidate(text, start, end, float(start_logit[span]), float(end_logit[span]))
        answers.append(list(candidates.values()))
    return answers


def probabilities(candidates: Sequence[Candidate]) -> list[float]:
    """Return the softmax of the candidates' scores, the sums of their logits."""
    if not candidates:
        return []
    return softmax(np.array([candidate.start_logit + candidate.end_logit for candidate in candidates])).tolist()


def legacy_text(tokenizer: Any, do_lower_case: bool) -> SpanText:
    """Return the function that turns spans of a tokenizer's tokens into answers as the SQuAD script of BERT does."""
    from tokenizers import decoders
    from tokenizers.normalizers import BertNormalizer
    from tokenizers.pre_tokenizers import BertPreTokenizer

    decoder = tokenizer.backend_tokenizer.decoder
    if isinstance(decoder, decoders.WordPiece):
        decoder = decoders.WordPiece(cleanup=False)  # today's default removes spaces that the old code kept
    normalizer, splitter = BertNormalizer(lowercase=do_lower_case), BertPreTokenizer()

    def span_text(context: str, start: int, end: int, ids: Sequence[int]) -> str:
        while start > 0 and not context[start - 1].isspace():
            start -= 1
        while end < len(context) and not context[end].isspace():
            end += 1
        words = compose(" ".join(context[start:end].split()))  # as the tokens are
        joined = " ".join(decoder.decode(tokenizer.convert_ids_to_tokens(ids)).split())
        spaced = " ".join(piece for piece, _ in splitter.pre_tokenize_str(normalizer.normalize_str(words)))
        return realign(joined, words, spaced)

    return span_text


def realign(joined: str, words: str, spaced: str) -> str:
    """Return the part of `words` that corresponds to `joined`, the joined tokens.

    spaced: the words, normalized, with spaces around every punctuation mark. Returns all of `words` if `joined` is not in
    `spaced`, or if `spaced` differs from `words` in more than case and spaces. Example: "steve smith" of "Steve Smith's", spaced
    "steve smith ' s", is "Steve Smith".
    """
    begin = spaced.find(joined)
    word_characters = [position for position, character in enumerate(words) if character != " "]
    spaced_characters = [position for position, character in enumerate(spaced) if character != " "]
    if begin < 0 or not joined or len(word_characters) != len(spaced_characters):
        return words
    position_in_words = dict(zip(spaced_characters, word_characters, strict=True))
    return words[position_in_words[begin] : position_in_words[begin + len(joined) - 1] + 1]
