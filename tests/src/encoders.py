"""Tiny models of every type whose encoder runs without padding, and how tests compare them with the padded model."""

import copy

import numpy as np
import torch
from transformers import (
    AutoConfig,
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
)

from src.model.unpadding.layout import Layout, using_layout
from src.model.unpadding.unpad import unpad_encoder

HEADS = [AutoModelForSequenceClassification, AutoModelForTokenClassification, AutoModelForQuestionAnswering]
SHAPE = {"vocab_size": 50, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
OTHERS = {
    "distilbert": {"dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 32},
    "electra": {"embedding_size": 8},
    "albert": {"embedding_size": 8},
    # Two of three layers attend to two positions on either side, in rows of up to seven tokens.
    "modernbert": {"num_hidden_layers": 3, "local_attention": 4},
    # Distances beyond 2 share buckets.
    "deberta-v2": {
        "relative_attention": True,
        "pos_att_type": ["c2p", "p2c"],
        "position_buckets": 4,
        "max_relative_positions": 8,
    },
}


def tiny(model_type, auto_class, **changes):
    torch.manual_seed(0)
    shape = SHAPE | OTHERS.get(model_type, {}) | changes
    config = AutoConfig.for_model(model_type, **shape, max_position_embeddings=64, pad_token_id=1)
    return auto_class.from_config(config)


def without_dropout(model):
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    return model


def unpadded_copy(model, first_token=False):
    model = copy.deepcopy(model)
    unpad_encoder(model, first_token)
    return model


def batch(*lengths):
    """Return inputs with rows of so many tokens."""
    rng = np.random.default_rng(0)
    mask = torch.tensor([[1] * length + [0] * (max(lengths) - length) for length in lengths])
    return {"input_ids": torch.tensor(rng.integers(2, 50, mask.shape)) * mask + (1 - mask), "attention_mask": mask}


def layout_of(mask):
    return Layout.of(mask, mask.flatten().nonzero()[:, 0])


def run_unpadded(model, inputs, **options):
    with using_layout(layout_of(inputs["attention_mask"])):
        return model(**inputs, **options)


def logits_of(output, mask):
    """Return all logits of a model, without those of padding."""
    logits = [output[name] for name in ("logits", "start_logits", "end_logits") if name in output]
    return torch.cat([values[mask.bool()].flatten() if values.shape[:2] == mask.shape else values.flatten() for values in logits])


def assert_same(model, unpadded, inputs):
    """Logits and gradients of two models, one padded, are the same."""
    expected = logits_of(model(**inputs), inputs["attention_mask"])
    actual = logits_of(run_unpadded(unpadded, inputs), inputs["attention_mask"])
    torch.testing.assert_close(actual, expected, atol=1e-5, rtol=0)
    expected.square().sum().backward()
    actual.square().sum().backward()
    gradients = {name: weight.grad for name, weight in unpadded.named_parameters() if weight.grad is not None}
    assert gradients.keys() == {name for name, weight in model.named_parameters() if weight.grad is not None}
    assert len(gradients) > 16
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, model.get_parameter(name).grad, atol=1e-4, rtol=1e-4, msg=name)
