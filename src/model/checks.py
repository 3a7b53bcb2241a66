"""Checks of a model, for what would fail, or train to a useless result, minutes or hours later."""

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from inspect import signature
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from src.common.errors import ModelError, brief
from src.data.special import SpecialTokens
from src.data.task import Features, Task
from src.model.batch import Batch, Collator
from src.model.device import random_state, set_random_state
from src.model.files import CHOOSE_AN_ENCODER, pad_id, uses_segments
from src.model.heads import HEADS
from src.model.layers import depths_below_head
from src.settings.lengths import too_long
from src.settings.schema import Settings

LENGTHS = (8, 24)  # tokens of a short and a long row in a batch
# How much padding may change: as a share of the norm of a row's states, where rounding is 1e-6 and what is not masked 1e-3 and
# more, and of a logit, in numbers of its own size.
STATES_TOLERANCE, LOGITS_TOLERANCE = 1e-4, 1e-4


def check_model(model: PreTrainedModel, tokenizer: Any, settings: Settings, task: Task) -> None:
    """Raise ModelError if a model on the CPU cannot be trained on rows of up to `max_seq_len` ids of the tokenizer.

    Its weights must be finite, its embeddings must cover all ids, segments and positions, its attention must see later tokens,
    and the outputs of a row must not depend on the padding of its batch. If their learning rates differ, its layers must be
    found. The model and its mode and the global random states stay as they are.
    """
    if settings.layer_decay < 1:
        depths_below_head(model)
    name, special = settings.model_name_or_path, SpecialTokens.of(tokenizer, len(task.text))
    _check_ids(model, tokenizer, special, name)
    for weight_name, weight in model.named_parameters():
        if not weight.sum().isfinite():  # many times faster than to look at each value
            raise ModelError(f"{name}: its weights are damaged: {weight_name} has values that are not finite. Download it again.")
    rows = _Rows(tokenizer, special, pad_id(model.config))
    with _kept_state(model):
        probed = _Probe(_twin(model), rows, task.kind, settings)
        longest = settings.max_seq_len
        with _watched_positions(probed.model, settings):
            (one,) = probed.run([rows.of(longest)])
        if settings.padding != "max_length":  # else all rows are as long as this one
            shortest = special.size + len(task.text)  # one token for each text
            lengths = [max(min(length, longest - 1), shortest) for length in LENGTHS]
            batch = [rows.of(length) for length in (shortest, *lengths)]
            alone = [probed.run([row])[0] for row in batch]
            _check_padding(probed.run(batch), alone, name)
            one, longest = alone[-1], lengths[-1]
        (other,) = probed.run([rows.of(longest, changed=True)])
    if one.states[0].equal(other.states[0]):
        raise ModelError(
            f"{name}: its attention only sees earlier tokens, like that of a decoder ({model.config.model_type}). "
            f"{CHOOSE_AN_ENCODER}"
        )


def _check_ids(model: PreTrainedModel, tokenizer: Any, special: SpecialTokens, name: str) -> None:
    """Raise ModelError if the model lacks an embedding of an id, of padding, or of a segment."""
    highest, embeddings = max(tokenizer.get_vocab().values()), len(model.get_input_embeddings().weight)
    if highest >= embeddings:
        raise ModelError(f"{name}: its tokenizer has ids up to {highest:,}, but the model only {embeddings:,} embeddings.")
    if not 0 <= pad_id(model.config) < embeddings:
        raise ModelError(
            f'{name}: "pad_token_id" in config.json is {pad_id(model.config)}, which has no embedding (0 to {embeddings - 1:,}). '
            f"Write that of its tokenizer there: {tokenizer.pad_token_id}."
        )
    if uses_segments(model.config) and special.highest_segment >= model.config.type_vocab_size:
        raise ModelError(
            f"{name}: its tokenizer has segments up to {special.highest_segment}, the model only {model.config.type_vocab_size} "
            'embeddings ("type_vocab_size" in config.json). Copy tokenizer.json from the model\'s original.'
        )


class _Outputs(NamedTuple):
    """What a model computes for the tokens of one row: states float [L, H] and logits float [L, C], or [C] for the whole row."""

    states: Tensor
    logits: Tensor


def _check_padding(together: Sequence[_Outputs], alone: Sequence[_Outputs], name: str) -> None:
    """Raise ModelError if what a model computes for a row in a batch differs from what it computes for the row alone."""
    pairs = [(one, other) for one, other in zip(together, alone, strict=True) if one.states.shape == other.states.shape]
    states = max((float((one.states - other.states).norm() / other.states.norm()) for one, other in pairs), default=0.0)
    logits = max(float((one.logits - other.logits).abs().max()) for one, other in zip(together, alone, strict=True))
    largest = max(float(other.logits.abs().max()) for other in alone)
    if states > STATES_TOLERANCE or logits > LOGITS_TOLERANCE * max(1.0, largest):
        raise ModelError(
            f"{name}: the outputs of a row change with the padding of its batch (states by {states:.1g} of their norm, logits by "
            f"{logits:.1g} of at most {largest:.1g}): padding is not masked, so scores would depend on how rows are batched. "
            "Pass --padding max_length, with which every row has the same padding, or choose another model."
        )


class _Rows:
    """Rows of random ids, with special tokens as the tokenizer has them. Their random numbers are their own."""

    def __init__(self, tokenizer: Any, special: SpecialTokens, padding: int) -> None:
        # A position may depend on whether a token is padding.
        self.ids = sorted({*tokenizer.get_vocab().values()} - {*tokenizer.all_special_ids, padding})
        self.special = special

    def of(self, length: int, changed: bool = False) -> tuple[list[int], list[int]]:
        """Return the ids and segments of a row of so many tokens; `changed`: of one in which the last token of a text differs."""
        tokens = np.random.default_rng(length).integers(len(self.ids), size=length - self.special.size)
        if changed:
            tokens[-1] = (tokens[-1] + 1) % len(self.ids)
        return self.special.row([self.ids[token] for token in tokens])


class _Probe:
    """A model with its head, to be run on rows as training and evaluation do."""

    def __init__(self, model: Any, rows: _Rows, kind: str, settings: Settings) -> None:
        self.model, self.head, self.name = model, HEADS[kind], settings.model_name_or_path
        self.collate = Collator(pad_id(model.config), uses_segments(model.config), torch.device("cpu"))
        self.states: list[Tensor] = []  # what the encoder returned last
        model.base_model.register_forward_hook(lambda module, inputs, output: self.states.append(output[0]))

    def run(self, rows: Sequence[tuple[list[int], list[int]]]) -> list[_Outputs]:
        """Return what the model computes for each row of a batch, given as ids and segments."""
        lengths = [len(ids) for ids, _ in rows]
        features = Features(
            {
                "input_ids": np.concatenate([ids for ids, _ in rows]),
                "token_type_ids": np.concatenate([segments for _, segments in rows]),
                "offsets": np.cumsum([0, *lengths]),
                "labels": np.zeros(len(rows)),
            }
        )
        self.states.clear()
        logits = self._logits(self.collate(features, np.arange(len(rows))), max(lengths))
        own = [each[:length] if logits.ndim == 3 else each for each, length in zip(logits, lengths, strict=True)]
        states = [each[:length] for each, length in zip(self.states[-1], lengths, strict=True)]
        return [_Outputs(*each) for each in zip(states, own, strict=True)]

    def _logits(self, batch: Batch, length: int) -> Tensor:
        # Without segments, RoBERTa would look them up by position, and fail before it comes to the position's embedding.
        takes_segments = "token_type_ids" in signature(self.model.forward).parameters
        segments = {"token_type_ids": torch.zeros_like(batch.inputs["input_ids"])} if takes_segments else {}
        try:
            return self.head.logits(self.model(**segments | batch.inputs), batch)
        except ModelError:
            raise
        except Exception as error:  # any, as the model's code may be anyone's
            advice = "Try a smaller --max_seq_len, and check config.json."
            problem = f"{type(error).__name__}: {brief(error)}"
            raise ModelError(f"{self.name}: the model cannot process a row of {length} tokens. {advice} ({problem})") from error


def _twin(model: PreTrainedModel) -> PreTrainedModel:
    """Return a model with the same weights, in the same memory: a row that is short or long changes some models for good."""
    return copy.deepcopy(model, {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())})


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
