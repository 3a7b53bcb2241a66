"""Checks of a model and a tokenizer, for what would fail, or train to a useless result, minutes or hours later."""

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from inspect import signature
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel

from src.common.errors import ModelError, brief
from src.model.device import random_state, set_random_state
from src.model.files import CHOOSE_AN_ENCODER, too_long
from src.model.layers import depths_below_head
from src.settings.schema import Settings

HANGUL_PROBE = "한국어"
BERT_TOKENIZER = '{"tokenizer_class": "BertTokenizer", "do_lower_case": false}'
# Vocabularies that transformers reads for any class, if there is no tokenizer.json.
ANY_CLASS = {"tokenizer.model", "tekken.json", "tiktoken.model"}


def check_model(model: PreTrainedModel, tokenizer: Any, settings: Settings) -> None:
    """Raise ModelError if a model on the CPU cannot be trained on rows of `max_seq_len` ids of the tokenizer.

    Its weights must be finite, its embeddings must cover all ids and positions, its attention must see later tokens, and if their
    learning rates differ, its layers must be found. The model's mode and the global random states stay as they are.
    """
    if settings.layer_decay < 1:
        depths_below_head(model)
    name = settings.model_name_or_path
    ids = tokenizer.get_vocab().values()
    embeddings = len(model.get_input_embeddings().weight)
    if max(ids) >= embeddings:
        raise ModelError(f"{name}: its tokenizer has ids up to {max(ids):,}, but the model only {embeddings:,} embeddings.")
    for weight_name, weight in model.named_parameters():
        if not weight.sum().isfinite():  # many times faster than to look at each value
            raise ModelError(f"{name}: its weights are damaged: {weight_name} has values that are not finite. Download it again.")
    # A position may depend on whether a token is padding.
    ordinary = sorted({*ids} - {*tokenizer.all_special_ids, getattr(model.config, "pad_token_id", None)})
    row = torch.randint(len(ordinary), (1, settings.max_seq_len), generator=torch.Generator().manual_seed(0))
    changed = row.clone()
    changed[0, 1] = (row[0, 1] + 1) % len(ordinary)
    with _watched_positions(model, settings), _kept_state(model):
        # Of the same shape: only then a causal model computes exactly the same first state for both.
        first, other = (_first_state(model, torch.tensor(ordinary)[indices], name) for indices in (row, changed))
    if first.equal(other):
        raise ModelError(
            f"{name}: its attention only sees earlier tokens, like that of a decoder ({model.config.model_type}). "
            f"{CHOOSE_AN_ENCODER}"
        )


def _first_state(model: PreTrainedModel, row: Tensor, name: str) -> Tensor:
    """Return the encoder's last hidden state of the first token of a row, ids int64 [1, L]."""
    encoder: Any = model.base_model
    inputs = {"input_ids": row, "attention_mask": torch.ones_like(row)}
    # Without them, RoBERTa would look them up by position, and fail before it comes to the position's embedding.
    if "token_type_ids" in signature(encoder.forward).parameters:
        inputs["token_type_ids"] = torch.zeros_like(row)
    try:
        states: Tensor = encoder(**inputs)[0]
    except ModelError:
        raise
    except Exception as error:  # any, as the model's code may be anyone's
        problem = f"{type(error).__name__}: {brief(error)}"
        raise ModelError(
            f"{name}: the model cannot process a row of {row.shape[1]} tokens. Try a smaller --max_seq_len. ({problem})"
        ) from error
    return states[0, 0]


@contextmanager
def _watched_positions(model: PreTrainedModel, settings: Settings) -> Iterator[None]:
    """Raise ModelError if a model asks for a position without an embedding. Some models do not count from 0."""

    def look(module: Any, inputs: tuple[Any, ...]) -> None:
        embeddings, highest = module.num_embeddings, int(inputs[0].max())
        if highest >= embeddings:
            raise too_long(settings, settings.model_name_or_path, embeddings - (highest - (settings.max_seq_len - 1)))

    tables = [module for name, module in model.named_modules() if type(module) is nn.Embedding and "position" in name]
    hooks = [table.register_forward_pre_hook(look) for table in tables]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


@contextmanager
def _kept_state(model: PreTrainedModel) -> Iterator[None]:
    """Run the block in evaluation mode and without gradients, then restore the mode and the global random states."""
    cpu = torch.device("cpu")
    training, random_states = model.training, random_state(cpu)
    model.eval()
    try:
        with torch.no_grad():  # not inference_mode: a model may keep tensors that it computes
            yield
    finally:
        model.train(training)
        set_random_state(random_states, cpu)


# -- tokenizers ----------------------------------------------------------------------------------------------------------------
# From incomplete files, transformers silently builds a tokenizer that knows no text.


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


def check_tokenizer(tokenizer: Any, config: PreTrainedConfig, name: str) -> None:
    """Raise ModelError if the tokenizer cannot encode Korean rows for the model.

    That is, if its files lack special tokens, it loses Hangul, it does not mark where a text starts and ends, or its ids exceed
    the model's embeddings.
    """
    own = _tokens_of_files(tokenizer)
    names = [tokenizer.cls_token, tokenizer.sep_token, tokenizer.pad_token]
    if tokenizer.unk_token not in own and not is_byte_level(tokenizer):  # byte-level pieces spell any text
        names.append(tokenizer.unk_token)
    _require_tokens([token for token in names if token is not None], own, name)
    ids = _encode_hangul(tokenizer, name)
    _require_tokens(_frame_tokens(tokenizer, ids, name), own, name)
    highest, embeddings = max(tokenizer.get_vocab().values()), getattr(config, "vocab_size", None)
    if embeddings is not None and highest >= embeddings:
        raise ModelError(
            f"{name}: its tokenizer has ids up to {highest:,}, but config.json only {embeddings:,} embeddings. Check that the "
            "files belong to the same model, and that its vocabulary has no line twice."
        )


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


def _encode_hangul(tokenizer: Any, name: str) -> list[int]:
    """Return the ids of HANGUL_PROBE. Raises ModelError if its syllables are decomposed or not in the vocabulary."""
    normalizer = tokenizer.backend_tokenizer.normalizer
    if normalizer and any("\u1100" <= character <= "\u11ff" for character in normalizer.normalize_str(HANGUL_PROBE)):
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
    return ids


def _frame_tokens(tokenizer: Any, ids: list[int], name: str) -> list[str]:
    """Return the special tokens around two texts. Raises ModelError if there are none around a text or between two."""
    pair = tokenizer(HANGUL_PROBE, HANGUL_PROBE)
    texts = pair.sequence_ids()  # of each token: 0, 1 or, if it is special, None
    between = None in texts[texts.index(0) : texts.index(1)]
    if tokenizer(HANGUL_PROBE)["input_ids"] == ids or not between:
        where = "between two texts" if not between else "around a text"
        raise ModelError(
            f"{name}: its tokenizer puts no special tokens {where}, as it has no post-processor for them. Copy the original "
            "tokenizer.json, or add one to it with TemplateProcessing of the tokenizers library."
        )
    special = [token for token, text in zip(pair["input_ids"], texts, strict=True) if text is None]
    return [str(tokenizer.convert_ids_to_tokens(token)) for token in special]
