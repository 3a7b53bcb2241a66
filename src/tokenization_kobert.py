"""KoBERT's tokenizer on the Rust library: the ids of the original Python class, with character offsets, and no code of its own.

The original (monologg/KoBERT-Transformers) cleans a text in Python, lets SentencePiece normalise and cut it, and looks the pieces
up in vocab.txt. Here the same steps are a normalizer, a pre-tokenizer and a Unigram model of the tokenizers library. What it
cannot express: of two segmentations with the same score SentencePiece prefers one by the rounding of 32-bit sums; and the
original cuts a piece like "1," once more, into "1" and ",".
"""

import sys
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from src.errors import ModelError

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
SPACE = "▁"  # how SentencePiece writes one


def load_kobert_tokenizer(model_file: Path, vocab_file: Path) -> PreTrainedTokenizerFast:
    """The tokenizer of KoBERT and DistilKoBERT from its SentencePiece model and vocab.txt, whose line numbers are the ids.

    Raises ModelError where the model is none of the Unigram kind, or the files are not of one vocabulary.
    """
    from sentencepiece import sentencepiece_model_pb2  # with protobuf a third of a second, for two models

    proto = sentencepiece_model_pb2.ModelProto()
    try:
        proto.ParseFromString(model_file.read_bytes())
    except Exception as error:  # protobuf has no public class for it
        raise ModelError(f"{model_file} is no SentencePiece model: {error}. Fetch it again.") from None
    if proto.trainer_spec.model_type != proto.trainer_spec.UNIGRAM:
        raise ModelError(f"{model_file} is no SentencePiece model of the Unigram kind, as KoBERT's is.")
    scores = {piece.piece: piece.score for piece in proto.pieces if piece.type == piece.NORMAL}
    vocab = [line.strip("\n") for line in vocab_file.read_text(encoding="utf-8").rstrip("\n").split("\n")]
    if missing := list(dict.fromkeys([*SPECIAL_TOKENS.values(), *scores]).keys() - set(vocab)):
        raise ModelError(
            f"{vocab_file} lacks {len(missing)} pieces of {model_file.name}, such as {missing[0]!r}: they are not of one model."
        )
    # A special token that stands in a text is taken out before the model sees it: its score is never looked at.
    unigram = models.Unigram([(piece, scores.get(piece, 0.0)) for piece in vocab], unk_id=vocab.index("[UNK]"))
    backend = Tokenizer(unigram)
    backend.normalizer = _normalizer(proto.normalizer_spec.precompiled_charsmap)
    backend.pre_tokenizer = pre_tokenizers.Metaspace(replacement=SPACE, prepend_scheme="always")
    backend.decoder = decoders.Metaspace(replacement=SPACE, prepend_scheme="always")
    return as_bert_tokenizer(PreTrainedTokenizerFast, backend)


def as_bert_tokenizer(tokenizer_class: type[T], backend: Tokenizer) -> T:
    """A tokenizer of transformers around one of the Rust library: BERT's special tokens and segments."""
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(token, backend.token_to_id(token)) for token in ("[CLS]", "[SEP]")],
    )
    names = ["input_ids", "token_type_ids", "attention_mask"]
    return tokenizer_class(tokenizer_object=backend, model_max_length=512, model_input_names=names, **SPECIAL_TOKENS)


def _normalizer(charsmap: bytes) -> normalizers.Normalizer:
    """What the original does in Python, then SentencePiece's own normalisation, rule by rule."""
    steps = [
        normalizers.Replace(Regex(f"[{_characters(str.isspace)}]+"), " "),
        normalizers.Replace("``", '"'),
        normalizers.Replace("''", '"'),
        normalizers.NFKD(),
        normalizers.Replace(Regex(f"[{_characters(unicodedata.combining)}]"), ""),
        # SentencePiece's table puts the letters of a syllable together; the Rust library's reading of it cannot.
        *([normalizers.NFC(), normalizers.Precompiled(charsmap)] if charsmap else []),
        normalizers.Replace(Regex(" {2,}"), " "),
        normalizers.Strip(),
    ]
    return normalizers.Sequence(steps)


def _characters(chosen: Callable[[str], object]) -> str:
    """The chosen ones of all characters, as ranges of a regular expression: Rust's own classes differ from Python's."""
    ranges: list[list[int]] = []
    for code in filter(lambda code: chosen(chr(code)), range(sys.maxunicode + 1)):
        if ranges and ranges[-1][1] == code - 1:
            ranges[-1][1] = code
        else:
            ranges.append([code, code])
    return "".join(f"\\x{{{first:X}}}-\\x{{{last:X}}}" for first, last in ranges)
