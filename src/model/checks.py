"""Checks of a model before it is trained, for what would fail, or train to a useless result, minutes or hours later."""

from collections.abc import Iterator
from contextlib import contextmanager
from inspect import signature
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from src.common.errors import ModelError, brief
from src.model.device import random_state, set_random_state
from src.model.files import CHOOSE_AN_ENCODER, too_long
from src.model.layers import depths_below_head
from src.settings.schema import Settings


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
