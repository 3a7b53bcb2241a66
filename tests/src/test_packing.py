import copy

import numpy as np
import pytest
import torch
from transformers import (
    AutoConfig,
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
)

from src.packing import ENCODERS, Layout, can_pack, pack_encoder, packed

HEADS = [AutoModelForSequenceClassification, AutoModelForTokenClassification, AutoModelForQuestionAnswering]
SHAPE = {"vocab_size": 50, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
DISTIL = {"dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 32}


def tiny(model_type, auto_class):
    changes = DISTIL if model_type == "distilbert" else {"embedding_size": 8} if model_type == "electra" else {}
    torch.manual_seed(0)
    config = AutoConfig.for_model(model_type, **SHAPE | changes, max_position_embeddings=64, pad_token_id=1)
    return auto_class.from_config(config)


def batch():
    """Rows of 3, 7, 1 and 5 tokens."""
    rng = np.random.default_rng(0)
    mask = torch.tensor([[1] * length + [0] * (7 - length) for length in (3, 7, 1, 5)])
    ids = torch.tensor(rng.integers(2, 50, (4, 7))) * mask + (1 - mask)
    return {"input_ids": ids, "attention_mask": mask}


def logits_of(output, mask):
    """All logits of a model, those of padding left out."""
    found = [output[name] for name in ("logits", "start_logits", "end_logits") if name in output]
    return torch.cat([each[mask.bool()].flatten() if each.shape[:2] == mask.shape else each.flatten() for each in found])


def layout_of(mask):
    return Layout.of(mask, mask.flatten().nonzero()[:, 0])


def test_the_layout_by_hand():
    layout = layout_of(torch.tensor([[1, 1, 0], [1, 0, 0], [1, 1, 1]]))
    assert layout.flat.tolist() == [0, 1, 3, 6, 7, 8]
    batch = layout.batch(torch.tensor([[1], [2], [3], [4], [5], [6]]))
    assert batch[:, :, 0].tolist() == [[1, 2, 0], [3, 0, 0], [4, 5, 6]]
    assert layout.tokens(batch)[:, 0].tolist() == [1, 2, 3, 4, 5, 6]
    assert layout.mask[:, 0, 0].tolist() == [[True, True, False], [True, False, False], [True, True, True]]
    assert layout_of(torch.ones(2, 3)).mask is None


@pytest.mark.parametrize("auto_class", HEADS)
@pytest.mark.parametrize("model_type", ENCODERS)
def test_logits_and_gradients_are_those_of_the_padded_model(model_type, auto_class):
    model = tiny(model_type, auto_class).eval()
    other = copy.deepcopy(model)
    assert can_pack(model)
    pack_encoder(other)
    inputs = batch()
    expected = logits_of(model(**inputs), inputs["attention_mask"])
    with packed(layout_of(inputs["attention_mask"])):
        found = logits_of(other(**inputs), inputs["attention_mask"])
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    expected.square().sum().backward()
    found.square().sum().backward()
    seen = 0
    for (name, one), (_, two) in zip(model.named_parameters(), other.named_parameters(), strict=True):
        if one.grad is not None:
            seen += 1
            torch.testing.assert_close(two.grad, one.grad, atol=1e-4, rtol=1e-4, msg=name)
    assert seen > 30


def test_the_encoder_sees_real_tokens_alone():
    model = tiny("bert", HEADS[0]).eval()
    pack_encoder(model)
    seen = []
    model.bert.encoder.layer[0].intermediate.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0].shape))
    inputs = batch()
    with packed(layout_of(inputs["attention_mask"])):
        model(**inputs)
    assert seen == [(1, 16, 16)]  # 3 + 7 + 1 + 5 tokens


def test_attention_dropout_stays():
    model = tiny("bert", HEADS[0]).train()
    pack_encoder(model)
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    for layer in model.bert.encoder.layer:
        layer.attention.self.dropout.p = 0.5
    inputs = batch()

    def run():
        with packed(layout_of(inputs["attention_mask"])):
            return model(**inputs).logits

    assert not torch.equal(run(), run())
    model.eval()
    assert torch.equal(run(), run())


def test_a_saved_config_does_not_know(tmp_path):
    model = tiny("electra", HEADS[0])
    pack_encoder(model)
    model.save_pretrained(tmp_path)
    assert "packed" not in (tmp_path / "config.json").read_text()
