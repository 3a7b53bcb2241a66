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
from src.unpadding import LAST_MODULE, Layout, can_unpad, unpad_encoder, using_layout

HEADS = [AutoModelForSequenceClassification, AutoModelForTokenClassification, AutoModelForQuestionAnswering]
SHAPE = {"vocab_size": 50, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
OTHERS = {
    "distilbert": {"dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 32},
    "electra": {"embedding_size": 8},
    # Two of three layers attend to two positions on either side, in rows of up to seven tokens.
    "modernbert": {"num_hidden_layers": 3, "local_attention": 4},
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


def batch():
    """Return inputs with rows of 3, 7, 1 and 5 tokens."""
    rng = np.random.default_rng(0)
    mask = torch.tensor([[1] * length + [0] * (7 - length) for length in (3, 7, 1, 5)])
    ids = torch.tensor(rng.integers(2, 50, (4, 7))) * mask + (1 - mask)
    return {"input_ids": ids, "attention_mask": mask}


def logits_of(output, mask):
    """Return all logits of a model, without those of padding."""
    logits = [output[name] for name in ("logits", "start_logits", "end_logits") if name in output]
    return torch.cat([values[mask.bool()].flatten() if values.shape[:2] == mask.shape else values.flatten() for values in logits])


def run_unpadded(model, inputs):
    with using_layout(layout_of(inputs["attention_mask"])):
        return model(**inputs)


def layout_of(mask):
    return Layout.of(mask, mask.flatten().nonzero()[:, 0])


def test_layout_of_a_small_batch():
    layout = layout_of(torch.tensor([[1, 1, 0], [1, 0, 0], [1, 1, 1]]))
    assert layout.indices.tolist() == [0, 1, 3, 6, 7, 8]
    batch = layout.pad(torch.tensor([[1], [2], [3], [4], [5], [6]]))
    assert batch[:, :, 0].tolist() == [[1, 2, 0], [3, 0, 0], [4, 5, 6]]
    assert layout.unpad(batch)[:, 0].tolist() == [1, 2, 3, 4, 5, 6]
    assert layout.attention_mask(None)[:, 0, 0].tolist() == [[True, True, False], [True, False, False], [True, True, True]]
    assert layout.position_ids.tolist() == [[0, 1, 0, 0, 1, 2]]
    assert layout_of(torch.ones(2, 3)).attention_mask(None) is None


def test_a_window_masks_distant_tokens():
    layout = layout_of(torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]]))
    assert torch.equal(layout.attention_mask(None), layout.attention_mask(4))
    assert layout.attention_mask(2)[:, 0].int().tolist() == [
        [[1, 1, 0, 0], [1, 1, 1, 0], [0, 1, 1, 1], [0, 0, 1, 1]],
        [[1, 1, 0, 0], [1, 1, 0, 0], [1, 1, 1, 1], [1, 1, 1, 1]],  # padding may attend to anything, but not to nothing
    ]
    assert layout_of(torch.ones(2, 3)).attention_mask(1)[0, 0].int().tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 1]]


@pytest.mark.parametrize("auto_class", HEADS)
@pytest.mark.parametrize("model_type", LAST_MODULE)
def test_logits_and_gradients_equal_those_of_the_padded_model(model_type, auto_class):
    model = tiny(model_type, auto_class).eval()
    unpadded = copy.deepcopy(model)
    assert can_unpad(model)
    unpad_encoder(unpadded)
    inputs = batch()
    expected = logits_of(model(**inputs), inputs["attention_mask"])
    actual = logits_of(run_unpadded(unpadded, inputs), inputs["attention_mask"])
    torch.testing.assert_close(actual, expected, atol=1e-5, rtol=0)
    expected.square().sum().backward()
    actual.square().sum().backward()
    gradients = {name: weight.grad for name, weight in unpadded.named_parameters() if weight.grad is not None}
    assert gradients.keys() == {name for name, weight in model.named_parameters() if weight.grad is not None}
    assert len(gradients) > 5 * model.config.num_hidden_layers
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, model.get_parameter(name).grad, atol=1e-4, rtol=1e-4, msg=name)


def test_the_encoder_processes_only_real_tokens():
    model = tiny("bert", HEADS[0]).eval()
    unpad_encoder(model)
    shapes = []
    model.bert.encoder.layer[0].intermediate.register_forward_hook(lambda module, inputs, output: shapes.append(inputs[0].shape))
    run_unpadded(model, batch())
    assert shapes == [(1, 16, 16)]  # 3 + 7 + 1 + 5 tokens


def test_attention_has_dropout_in_training():
    model = tiny("bert", HEADS[0], hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.5, classifier_dropout=0.0).train()
    unpad_encoder(model)
    inputs = batch()
    assert not torch.equal(run_unpadded(model, inputs).logits, run_unpadded(model, inputs).logits)
    model.eval()
    assert torch.equal(run_unpadded(model, inputs).logits, run_unpadded(model, inputs).logits)


@pytest.mark.parametrize("lengths", [(3, 7, 1, 5), (7, 7)])
@pytest.mark.parametrize(
    ("model_type", "dropout"),
    [("bert", {"attention_probs_dropout_prob": 1e-6, "hidden_dropout_prob": 0.0}), ("modernbert", {"attention_dropout": 1e-6})],
)
def test_attention_with_dropout_equals_that_of_the_padded_model(model_type, dropout, lengths):
    """With a probability that is rounded to 0: dropout has an implementation of its own, which drops nothing here."""
    model = tiny(model_type, HEADS[1], **dropout)
    unpadded = copy.deepcopy(model)
    unpad_encoder(unpadded)
    mask = torch.tensor([[1] * length + [0] * (7 - length) for length in lengths])
    inputs = {"input_ids": torch.arange(2, 2 + mask.numel()).view(mask.shape), "attention_mask": mask}
    expected = model.eval()(**inputs).logits[mask.bool()]
    torch.testing.assert_close(run_unpadded(unpadded.train(), inputs).logits[mask.bool()], expected, atol=1e-5, rtol=0)


def test_the_saved_config_is_unchanged(tmp_path):
    model = tiny("electra", HEADS[0])
    unpad_encoder(model)
    model.save_pretrained(tmp_path)
    assert "unpadded" not in (tmp_path / "config.json").read_text()


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")  # read by torch's tracer
@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated")  # used by torch's compiler
@pytest.mark.parametrize(
    ("model_type", "backend"),
    [("electra", "eager"), ("modernbert", "eager"), pytest.param("electra", "inductor", marks=pytest.mark.long)],
)
def test_compiled_layers_process_batches_of_every_shape(model_type, backend, monkeypatch):
    """With the same results, traced without graph breaks and only once for each kind of layer."""
    plain = torch.nn.Module.compile
    monkeypatch.setattr(
        torch.nn.Module, "compile", lambda layer, **options: plain(layer, **options, backend=backend, fullgraph=True)
    )
    model = without_dropout(tiny(model_type, HEADS[0])).train()
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
        expected, actual = run_unpadded(model, inputs).logits, run_unpadded(compiled, inputs).logits
        torch.testing.assert_close(actual, expected, atol=1e-5, rtol=0)
        expected.sum().backward()
        actual.sum().backward()
    for name, weight in compiled.named_parameters():
        torch.testing.assert_close(weight.grad, model.get_parameter(name).grad, atol=1e-4, rtol=1e-4, msg=name)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] <= 3
