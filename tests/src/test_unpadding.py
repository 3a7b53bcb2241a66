import copy

import numpy as np
import pytest
import torch
import torch._dynamo
from transformers import (
    AutoConfig,
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
)

from src.device import compile_layers
from src.unpadding import LAST, Layout, _attention_with_cheap_dropout, can_unpad, unpad_encoder, using_layout

HEADS = [AutoModelForSequenceClassification, AutoModelForTokenClassification, AutoModelForQuestionAnswering]
SHAPE = {"vocab_size": 50, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
OTHERS = {
    "distilbert": {"dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 32},
    "electra": {"embedding_size": 8},
    # Two layers of three attend to two places on either side alone, of rows of up to seven.
    "modernbert": {"num_hidden_layers": 3, "local_attention": 4},
}


def tiny(model_type, auto_class):
    torch.manual_seed(0)
    config = AutoConfig.for_model(model_type, **SHAPE | OTHERS.get(model_type, {}), max_position_embeddings=64, pad_token_id=1)
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
    assert layout.attends(None)[:, 0, 0].tolist() == [[True, True, False], [True, False, False], [True, True, True]]
    assert layout.positions.tolist() == [[0, 1, 0, 0, 1, 2]]
    assert layout_of(torch.ones(2, 3)).attends(None) is None


def test_a_window_hides_what_is_far_by_hand():
    layout = layout_of(torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]]))
    assert torch.equal(layout.attends(None), layout.attends(4))
    assert layout.attends(2)[:, 0].int().tolist() == [
        [[1, 1, 0, 0], [1, 1, 1, 0], [0, 1, 1, 1], [0, 0, 1, 1]],
        [[1, 1, 0, 0], [1, 1, 0, 0], [1, 1, 1, 1], [1, 1, 1, 1]],  # at padding nothing matters, but for its being a number
    ]
    assert layout_of(torch.ones(2, 3)).attends(1)[0, 0].int().tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 1]]


@pytest.mark.parametrize("auto_class", HEADS)
@pytest.mark.parametrize("model_type", LAST)
def test_logits_and_gradients_are_those_of_the_padded_model(model_type, auto_class):
    model = tiny(model_type, auto_class).eval()
    other = copy.deepcopy(model)
    assert can_unpad(model)
    unpad_encoder(other)
    inputs = batch()
    expected = logits_of(model(**inputs), inputs["attention_mask"])
    with using_layout(layout_of(inputs["attention_mask"])):
        found = logits_of(other(**inputs), inputs["attention_mask"])
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    expected.square().sum().backward()
    found.square().sum().backward()
    gradients = [{name: one.grad for name, one in each.named_parameters() if one.grad is not None} for each in (model, other)]
    assert gradients[0].keys() == gradients[1].keys()
    assert len(gradients[0]) > 5 * model.config.num_hidden_layers
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, atol=1e-4, rtol=1e-4, msg=name)


def test_the_encoder_sees_real_tokens_alone():
    model = tiny("bert", HEADS[0]).eval()
    unpad_encoder(model)
    seen = []
    model.bert.encoder.layer[0].intermediate.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0].shape))
    inputs = batch()
    with using_layout(layout_of(inputs["attention_mask"])):
        model(**inputs)
    assert seen == [(1, 16, 16)]  # 3 + 7 + 1 + 5 tokens


def test_attention_dropout_stays():
    model = tiny("bert", HEADS[0]).train()
    unpad_encoder(model)
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    for layer in model.bert.encoder.layer:
        layer.attention.self.dropout.p = 0.5
    inputs = batch()

    def run():
        with using_layout(layout_of(inputs["attention_mask"])):
            return model(**inputs).logits

    assert not torch.equal(run(), run())
    model.eval()
    assert torch.equal(run(), run())


def test_attention_with_dropout_is_torch_s_but_for_what_is_dropped(monkeypatch):
    """With nothing dropped the numbers are the same, with padding, with a window, and without."""
    monkeypatch.setattr("src.unpadding.cheap_dropout", lambda values, p: values)
    query, key, value = torch.randn(3, 2, 4, 7, 8)
    mask = torch.tensor([1, 1, 1, 1, 1, 0, 0]).bool()[None, None, None, :].expand(2, 1, 7, 7)
    for seen in (None, mask):
        for scaling in (None, 0.5):
            found = _attention_with_cheap_dropout(query, key, value, seen, 0.1, scaling)
            expected = torch.nn.functional.scaled_dot_product_attention(query, key, value, seen, scale=scaling)
            torch.testing.assert_close(found, expected)


def test_a_saved_config_does_not_know(tmp_path):
    model = tiny("electra", HEADS[0])
    unpad_encoder(model)
    model.save_pretrained(tmp_path)
    assert "packed" not in (tmp_path / "config.json").read_text()


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")  # torch's tracer looks at it
@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated")  # torch's compiler uses it
@pytest.mark.parametrize(
    ("model_type", "backend"),
    [("electra", "eager"), ("modernbert", "eager"), pytest.param("electra", "inductor", marks=pytest.mark.long)],
)
def test_compiled_layers_serve_batches_of_every_shape(model_type, backend, monkeypatch):
    """Traced without a break, as few times as there are kinds of layers, and the numbers stay what they were."""
    plain = torch.nn.Module.compile
    monkeypatch.setattr(
        torch.nn.Module, "compile", lambda layer, **options: plain(layer, **options, backend=backend, fullgraph=True)
    )
    model = tiny(model_type, HEADS[0]).train()
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    unpad_encoder(model)
    compiled = copy.deepcopy(model)
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    compile_layers(compiled, True, torch.device("cpu"))
    rng = np.random.default_rng(0)
    for rows, length in ((2, 9), (5, 12), (3, 17), (8, 30)):
        mask = torch.tensor(np.arange(length) < rng.integers(1, length, rows)[:, None]).long()
        mask[0] = 1
        inputs = {"input_ids": torch.tensor(rng.integers(2, 50, (rows, length))) * mask + (1 - mask), "attention_mask": mask}
        with using_layout(layout_of(mask)):
            expected, found = model(**inputs).logits, compiled(**inputs).logits
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
        expected.sum().backward()
        found.sum().backward()
    for (name, one), (_, two) in zip(model.named_parameters(), compiled.named_parameters(), strict=True):
        torch.testing.assert_close(two.grad, one.grad, atol=1e-4, rtol=1e-4, msg=name)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] <= 3
