"""Answers the way the BERT SQuAD script made them, from pieces instead of characters: to reproduce published KorQuAD scores.

It joins the pieces of a span, and looks for that text in the words it came from. Where the tokenizer has changed a character, or
the span begins inside a word, it often falls back to the words as a whole: an answer with its particles, which is no exact match.
"""

from collections.abc import Callable, Sequence
from typing import Any

TextOf = Callable[[str, int, int, Sequence[int]], str]  # context, start, end, ids of the span -> answer


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
