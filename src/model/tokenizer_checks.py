"""Checks of a tokenizer. From incomplete files, transformers silently builds one that knows no text."""

import logging
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from transformers import PreTrainedConfig

from src.common.errors import ModelError, brief

logger = logging.getLogger(__name__)

HANGUL_PROBE = "한국어"
UNKNOWN_PROBE = "\U000f0000"  # for private use: in no vocabulary
PIECES_TO_REPEAT = 200  # a text of so many pieces has enough merges to see that some are left out at random
BERT_TOKENIZER = '{"tokenizer_class": "BertTokenizer", "do_lower_case": false}'
# Vocabularies that transformers reads for any class, if there is no tokenizer.json.
ANY_CLASS = {"tokenizer.model", "tekken.json", "tiktoken.model"}


def require_files(name: str, folder: Path, tokenizer_class: Any | None) -> None:
    """Raise ModelError if `folder` lacks files of a tokenizer's class; None: transformers could not load any from it."""
    found = {path.name for path in folder.iterdir()}
    needed = _needed_files(found, tokenizer_class)
    missing = [file for file in needed if file not in found]
    if not missing or found & ANY_CLASS or any(re.fullmatch(r"tokenizer\..*json", file) for file in found):
        return
    advice = "Copy the missing files from the model's original."
    if "vocab.txt" in found and tokenizer_class:
        advice = f"If vocab.txt is its vocabulary, write {BERT_TOKENIZER} into tokenizer_config.json."
    elif "vocab.txt" in found:
        make = f'transformers.BertTokenizer.from_pretrained("{folder}", do_lower_case=False).save_pretrained("{folder}")'
        advice = f"If vocab.txt is its vocabulary, make a tokenizer.json from it in Python: {make}"
    files = " or ".join(dict.fromkeys(["tokenizer.json", " and ".join(needed)]))
    raise ModelError(f"{name}: its tokenizer needs {files}; {folder} has no {' and no '.join(missing)}. {advice}")


def _needed_files(found: set[str], tokenizer_class: Any | None) -> list[str]:
    """Return the files that a tokenizer needs if it has no tokenizer.json."""
    if tokenizer_class:
        files = tokenizer_class.vocab_files_names
        return [files[key] for key in ("vocab_file", "merges_file") if key in files]
    if any(file.endswith(".model") for file in found):
        return []  # its class may need nothing else
    return ["vocab.json", "merges.txt"] if found & {"vocab.json", "merges.txt"} else ["tokenizer.json"]


def check_tokenizer(tokenizer: Any, config: PreTrainedConfig, name: str, korean: bool, saved: bool) -> None:
    """Raise ModelError if the tokenizer cannot encode rows for the model.

    That is, if its files lack special tokens, it does not mark texts, or its ids exceed the model's embeddings. korean: whether
    the texts are known to be Korean; then it must not lose Hangul. The texts of other tasks are looked at in processor.quality.
    saved: whether it is that of a checkpoint, which can predict even if it fails at what it does not know, or draws lots.
    """
    own = _tokens_of_files(tokenizer)
    names = [tokenizer.cls_token, tokenizer.sep_token, tokenizer.pad_token]
    if tokenizer.unk_token not in own and not is_byte_level(tokenizer):  # byte-level pieces spell any text
        names.append(tokenizer.unk_token)
    _require_tokens([token for token in names if token is not None], own, name)
    if not saved:
        find_unknown(tokenizer, name)
    if korean:
        _require_hangul(tokenizer, name)
    _require_tokens(_frame_tokens(tokenizer, name), own, name)
    if not saved:
        _require_both_ends(tokenizer, name)
    highest, embeddings = max(tokenizer.get_vocab().values()), getattr(config, "vocab_size", None)
    if embeddings is not None and highest >= embeddings:
        raise ModelError(
            f"{name}: its tokenizer has ids up to {highest:,}, but config.json only {embeddings:,} embeddings. Check that the "
            "files belong to the same model, and that its vocabulary has no line twice."
        )


def _require_both_ends(tokenizer: Any, name: str) -> None:
    """Raise ModelError if a row does not begin and end with a special token, or a text has several encodings."""
    rows = [tokenizer(*[HANGUL_PROBE] * texts).sequence_ids() for texts in (1, 2)]
    if any(row[place] is not None for row in rows for place in (0, -1)):
        raise _no_special_tokens(name, "around a text")
    text = " ".join([HANGUL_PROBE, *sorted(tokenizer.get_vocab())[:PIECES_TO_REPEAT]])
    if tokenizer(text)["input_ids"] != tokenizer(text)["input_ids"]:
        raise ModelError(f"{name}: its tokenizer encodes the same text differently each time, so no result could be repeated.")


def switch_off_dropout(tokenizer: Any, name: str) -> None:
    """Make a BPE tokenizer that leaves out merges at random, as its files may ask for, apply all of them."""
    model = tokenizer.backend_tokenizer.model
    if share := getattr(model, "dropout", None):
        model.dropout = None
        logger.info("%s: BPE dropout of its tokenizer (%g) is switched off: features are made once for all epochs", name, share)


def find_unknown(tokenizer: Any, name: str) -> int | None:
    """Return the id that the Rust model gives to what it does not know; None if it spells everything in bytes.

    This is not always the one that transformers has in `unk_token`. Raises ModelError if the model fails at what it does not
    know, or leaves it out.
    """
    try:
        found = tokenizer.backend_tokenizer.model.tokenize(UNKNOWN_PROBE)
        reason = "" if found else "leaves out"
    except Exception as error:  # the library raises plain Exceptions
        reason = f"fails ({brief(error)}) at"
    if reason:
        if is_byte_level(tokenizer):
            return None
        raise ModelError(
            f'{name}: its tokenizer {reason} characters that it does not know. Name its unknown token in the "model" of '
            'tokenizer.json: "unk_id" of a Unigram model, else "unk_token", with a piece of its vocabulary.'
        )
    return int(found[0].id) if len(found) == 1 else None  # several: the bytes of the character


def is_byte_level(tokenizer: Any) -> bool:
    """Return whether the tokenizer spells texts in bytes."""
    return '"ByteLevel"' in tokenizer.backend_tokenizer.to_str()


def _tokens_of_files(tokenizer: Any) -> set[str]:
    """Return the tokens in the tokenizer's files, without those that transformers has added as its class has them."""
    recorded = tokenizer.init_kwargs.get("added_tokens_decoder", {}).values()
    return {*tokenizer.backend_tokenizer.get_vocab(with_added_tokens=False), *map(str, recorded)}


def _require_tokens(tokens: Iterable[str], own: set[str], name: str) -> None:
    if missing := [token for token in dict.fromkeys(tokens) if token not in own]:
        raise ModelError(
            f"{name}: the vocabulary lacks the special tokens {', '.join(missing)}; they would be added as new, untrained ones. "
            "Check that it belongs to the model. If its special tokens have other names, write these into tokenizer_config.json, "
            'for example "cls_token": "<s>".'
        )


def splits_hangul(tokenizer: Any) -> bool:
    """Return whether the tokenizer takes Hangul syllables apart into letters."""
    normalizer = tokenizer.backend_tokenizer.normalizer
    return bool(normalizer) and any("\u1100" <= character <= "\u11ff" for character in normalizer.normalize_str(HANGUL_PROBE))


def _require_hangul(tokenizer: Any, name: str) -> None:
    """Raise ModelError if the syllables of HANGUL_PROBE are decomposed or not in the vocabulary."""
    if splits_hangul(tokenizer):
        advice = "--do_lower_case false"
        if hasattr(tokenizer, "keep_accents"):
            advice = '"keep_accents": true in tokenizer_config.json'
        raise ModelError(
            f"{name}: its tokenizer splits Hangul syllables into letters, as lower-casing with accent stripping does. "
            f"Try {advice}."
        )
    ids: list[int] = tokenizer(HANGUL_PROBE, add_special_tokens=False)["input_ids"]
    # Not by their text: some tokenizers print an unknown piece as the text it stands for.
    known = [token for token in set(ids) - {tokenizer.unk_token_id} if tokenizer.convert_ids_to_tokens(token) != "▁"]
    if not known:
        raise ModelError(
            f"{name}: its vocabulary has no piece for any syllable of {HANGUL_PROBE!r}; without Korean it cannot be used. "
            "Choose a Korean or multilingual model."
        )


def _frame_tokens(tokenizer: Any, name: str) -> list[str]:
    """Return the special tokens around two texts. Raises ModelError if there are none around a text or between two."""
    pair = tokenizer(HANGUL_PROBE, HANGUL_PROBE)
    texts = pair.sequence_ids()  # of each token: 0, 1 or, if it is special, None
    if None not in texts[texts.index(0) : texts.index(1)]:
        raise _no_special_tokens(name, "between two texts")
    if None not in tokenizer(HANGUL_PROBE).sequence_ids():
        raise _no_special_tokens(name, "around a text")
    special = [token for token, text in zip(pair["input_ids"], texts, strict=True) if text is None]
    return [str(tokenizer.convert_ids_to_tokens(token)) for token in special]


def _no_special_tokens(name: str, where: str) -> ModelError:
    return ModelError(
        f"{name}: its tokenizer puts no special tokens {where}, as it has no post-processor for them. Copy the original "
        "tokenizer.json, or add one to it with TemplateProcessing of the tokenizers library."
    )
