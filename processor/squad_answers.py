"""The best spans of windows become answers: by their characters or, to reproduce published KorQuAD scores, from pieces.

The BERT SQuAD script joined the pieces of a span and looked for that text in the words it came from. Where the tokenizer has
changed a character, or the span begins inside a word, it fell back to the words as a whole: an answer with its particles.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from processor.split import softmax
from src.data import Tensors

TextOf = Callable[[str, int, int, Sequence[int]], str]  # context, start, end, ids of the span -> answer


@dataclass(frozen=True, slots=True)
class Candidate:
    """A candidate for an answer: its text, its characters in the context, and how good the model takes it for."""

    text: str
    start: int
    end: int
    start_logit: float
    end_logit: float


def find_answers(
    contexts: Sequence[str], tensors: Tensors, spans: np.ndarray, n_best: int, text_of: TextOf | None = None
) -> list[list[Candidate]]:
    """For every question at most `n_best` candidates with different texts, best first, from the best spans of its windows.

    tensors: those of the windows. spans: float32 [n, k, 4], first and last token of the window and their logits; -inf: no span.
    text_of: how a span becomes text; by default its characters of the context.
    """
    windows = np.searchsorted(tensors["example_index"], np.arange(len(contexts) + 1))
    answers = []
    for number, context in enumerate(contexts):
        here = np.arange(windows[number], windows[number + 1])
        of_window = np.repeat(tensors["offsets"][here], spans.shape[1])
        first, last, start_logit, end_logit = spans[here].reshape(-1, 4).T
        scores = start_logit + end_logit
        found: dict[str, Candidate] = {}
        for place in np.argsort(-scores, kind="stable"):
            if len(found) == n_best or not np.isfinite(scores[place]):
                break
            begin, end = int(of_window[place] + first[place]), int(of_window[place] + last[place])
            start, behind = int(tensors["char_start"][begin]), int(tensors["char_end"][end])
            text = context[start:behind]
            if text_of and text:
                text = text_of(context, start, behind, tensors["input_ids"][begin : end + 1].tolist())
            if text and text not in found:
                found[text] = Candidate(text, start, behind, float(start_logit[place]), float(end_logit[place]))
        answers.append(list(found.values()))
    return answers


def probabilities(found: Sequence[Candidate]) -> list[float]:
    """How the candidates, of which there is at least one, share the probability: the softmax of their scores."""
    return softmax(np.array([each.start_logit + each.end_logit for each in found])).tolist()


def legacy_text(tokenizer: Any, do_lower_case: bool) -> TextOf:
    """The function that makes an answer of a span, for a tokenizer."""
    from tokenizers import decoders
    from tokenizers.normalizers import BertNormalizer
    from tokenizers.pre_tokenizers import BertPreTokenizer

    decoder = tokenizer.backend_tokenizer.decoder
    if isinstance(decoder, decoders.WordPiece):
        decoder = decoders.WordPiece(cleanup=False)  # today's default takes spaces away that the old code left
    normalizer, splitter = BertNormalizer(lowercase=do_lower_case), BertPreTokenizer()

    def text_of(context: str, start: int, end: int, ids: Sequence[int]) -> str:
        while start > 0 and not context[start - 1].isspace():
            start -= 1
        while end < len(context) and not context[end].isspace():
            end += 1
        words = " ".join(context[start:end].split())
        joined = " ".join(decoder.decode(tokenizer.convert_ids_to_tokens(ids)).split())
        spaced = " ".join(piece for piece, _ in splitter.pre_tokenize_str(normalizer.normalize_str(words)))
        return realign(joined, words, spaced)

    return text_of


def realign(joined: str, words: str, spaced: str) -> str:
    """The part of `words` that `joined` is, found by way of `spaced`, the words with spaces around every punctuation mark.

    All of `words` where `joined` is not in `spaced`, or `spaced` differs from `words` in more than spaces. Example: "steve smith"
    of "Steve Smith's", spaced "steve smith ' s", is "Steve Smith".
    """
    begin = spaced.find(joined)
    characters = [position for position, character in enumerate(words) if character != " "]
    spaced_characters = [position for position, character in enumerate(spaced) if character != " "]
    if begin < 0 or not joined or len(characters) != len(spaced_characters):
        return words
    number = {position: index for index, position in enumerate(spaced_characters)}
    return words[characters[number[begin]] : characters[number[begin + len(joined) - 1]] + 1]
