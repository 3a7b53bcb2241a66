"""KoBERT's tokenizer on the Rust library: the ids of the original Python class, and character offsets.

The original (monologg/KoBERT-Transformers) cleans a text in Python, normalizes and segments it with SentencePiece, and looks the
pieces up in vocab.txt. Here a normalizer, a pre-tokenizer and a Unigram model of the tokenizers library do the same. Two details
cannot be reproduced: of two segmentations with equal scores SentencePiece prefers the one favoured by rounding to 32 bits; and
the original splits a piece such as "1," again, into "1" and ",".
"""

import sys
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from src.common.errors import ModelError

MODEL_FILE = "tokenizer_78b3253a26.model"
VOCAB_FILE = "vocab.txt"
SPECIAL_TOKENS = {
    "unk_token": "[UNK]",
    "pad_token": "[PAD]",
    "cls_token": "[CLS]",
    "sep_token": "[SEP]",
    "mask_token": "[MASK]",
}
T = TypeVar("T", bound=PreTrainedTokenizerFast)
SPACE = "▁"  # SentencePiece's symbol for a space


def load_kobert_tokenizer(model_file: Path, vocab_file: Path) -> PreTrainedTokenizerFast:
    """Return the tokenizer of KoBERT and DistilKoBERT for a SentencePiece model and vocab.txt, whose line numbers are the ids.

    Raises ModelError if the model is not a Unigram model or the two files do not belong together.
    """
    from sentencepiece import sentencepiece_model_pb2  # here, as it takes 0.3 s and only two models need it

    proto = sentencepiece_model_pb2.ModelProto()
    try:
        proto.ParseFromString(model_file.read_bytes())
    except Exception as error:  # protobuf has no public class for it
        raise ModelError(f"{model_file} is not a SentencePiece model: {error}. Download it again.") from None
    if proto.trainer_spec.model_type != proto.trainer_spec.UNIGRAM:
        raise ModelError(f"{model_file} is not a Unigram model, as KoBERT's is.")
    scores = {piece.piece: piece.score for piece in proto.pieces if piece.type == piece.NORMAL}
    vocab = [line.strip("\n") for line in vocab_file.read_text(encoding="utf-8").rstrip("\n").split("\n")]
    if missing := list(dict.fromkeys([*SPECIAL_TOKENS.values(), *scores]).keys() - set(vocab)):
        raise ModelError(
            f"{vocab_file} lacks {len(missing)} pieces of {model_file.name}, such as {missing[0]!r}: they do not belong together."
        )
    # Special tokens get any score: they are cut out of the text before the Unigram model sees it.
    unigram = models.Unigram([(piece, scores.get(piece, 0.0)) for piece in vocab], unk_id=vocab.index("[UNK]"))
    backend = Tokenizer(unigram)
    backend.normalizer = _normalizer(proto.normalizer_spec.precompiled_charsmap)
    backend.pre_tokenizer = pre_tokenizers.Metaspace(replacement=SPACE, prepend_scheme="always")
    backend.decoder = decoders.Metaspace(replacement=SPACE, prepend_scheme="always")
    return as_bert_tokenizer(PreTrainedTokenizerFast, backend)


def as_bert_tokenizer(tokenizer_class: type[T], backend: Tokenizer) -> T:
    """Return a transformers tokenizer for a Rust one, with the special tokens and segments of BERT."""
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(token, backend.token_to_id(token)) for token in ("[CLS]", "[SEP]")],
    )
    names = ["input_ids", "token_type_ids", "attention_mask"]
    return tokenizer_class(tokenizer_object=backend, model_max_length=512, model_input_names=names, **SPECIAL_TOKENS)


def _normalizer(charsmap: bytes) -> normalizers.Normalizer:
    """Return the steps of the original in Python, followed by SentencePiece's normalization, whose table is `charsmap`."""
    steps = [
        normalizers.Replace(Regex(f"[{_character_class(str.isspace)}]+"), " "),
        normalizers.Replace("``", '"'),
        normalizers.Replace("''", '"'),
        normalizers.NFKD(),
        normalizers.Replace(Regex(f"[{_character_class(unicodedata.combining)}]"), ""),
        # SentencePiece's table also composes letters into syllables, but the Rust library applies it without that: hence NFC.
        *([normalizers.NFC(), normalizers.Precompiled(charsmap)] if charsmap else []),
        normalizers.Replace(Regex(" {2,}"), " "),
        normalizers.Strip(),
    ]
    return normalizers.Sequence(steps)


def _character_class(contains: Callable[[str], object]) -> str:
    r"""Return all characters for which `contains` is true as ranges for a regular expression, such as \x{9}-\x{D}.

    Classes such as \s would not do: they contain other characters in Rust than in Python.
    """
    ranges: list[list[int]] = []
    for code in range(sys.maxunicode + 1):
        if not contains(chr(code)):
            continue
        if ranges and ranges[-1][1] == code - 1:
            ranges[-1][1] = code
        else:
            ranges.append([code, code])
    return "".join(f"\\x{{{first:X}}}-\\x{{{last:X}}}" for first, last in ranges)
