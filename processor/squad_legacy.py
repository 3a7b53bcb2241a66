"""Answers as the SQuAD script of BERT writes them, for `--answer_text legacy`: word pieces that are joined."""

from collections.abc import Callable, Sequence
from typing import Any

from src.data.hangul import compose

SpanText = Callable[[str, int, int, Sequence[int]], str]  # context, start, end, token ids of a span -> answer


def legacy_text(tokenizer: Any, do_lower_case: bool) -> SpanText:
    """Return the function that turns spans of a tokenizer's tokens into answers as the SQuAD script of BERT does.

    It joins the tokens of a span and looks for that text in the words it comes from. If the tokenizer changes a character, or
    the span begins inside a word, the answer is the whole words, particles included.
    """
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
