import pytest
import torch

from src.model.unpadding.dropout import use_cheap_dropout
from src.model.unpadding.unpad import LAST_LAYER
from tests.src.encoders import HEADS, assert_same, batch, run_unpadded, tiny, unpadded_copy

LENGTHS = [(3, 7, 1, 5), (7, 7), (1, 1), (7,), (1,)]


@pytest.mark.parametrize("lengths", LENGTHS, ids=str)
@pytest.mark.parametrize("model_type", LAST_LAYER)
def test_logits_and_gradients_equal_those_of_the_padded_model(model_type, lengths):
    model = tiny(model_type, HEADS[0], num_labels=3, initializer_range=0.3).eval()
    assert_same(model, unpadded_copy(model, first_token=True), batch(*lengths))


def test_a_window_that_the_last_layer_has_is_kept():
    """All three layers of this ModernBERT attend to two positions on either side."""
    layers = {"layer_types": ["sliding_attention"] * 3}
    model = tiny("modernbert", HEADS[0], initializer_range=0.3, **layers).eval()
    assert_same(model, unpadded_copy(model, first_token=True), batch(3, 7, 1, 5))


@pytest.mark.parametrize("model_type", LAST_LAYER)
def test_only_the_last_layer_is_short(model_type):
    model = unpadded_copy(tiny(model_type, HEADS[0]).eval(), first_token=True)
    shapes = []
    for name, module in model.named_modules():
        if name.endswith((".intermediate", ".ffn", ".mlp")):
            module.register_forward_hook(lambda module, inputs, output: shapes.append(tuple(inputs[0].shape[:2])))
    run_unpadded(model, batch(3, 7, 1, 5))
    assert shapes == [(1, 16)] * (len(shapes) - 1) + [(4, 1)]


def test_a_head_that_averages_over_tokens_gets_all():
    model = tiny("modernbert", HEADS[0], classifier_pooling="mean").eval()
    assert_same(model, unpadded_copy(model, first_token=True), batch(3, 7, 1, 5))


@pytest.mark.parametrize("model_type", LAST_LAYER)
def test_bf16_differs_as_little_as_that_of_the_padded_model(model_type):
    model = tiny(model_type, HEADS[0], initializer_range=0.3).eval()
    unpadded, inputs = unpadded_copy(model, first_token=True), batch(3, 7, 1, 5)
    exact = model(**inputs).logits
    with torch.autocast("cpu", torch.bfloat16):
        padded, short = model(**inputs).logits, run_unpadded(unpadded, inputs).logits
    assert short.dtype == padded.dtype == torch.bfloat16
    assert (short - exact).abs().max() < 3 * (padded - exact).abs().max()


@pytest.mark.parametrize("cheap", [False, True])
@pytest.mark.parametrize("model_type", LAST_LAYER)
def test_dropout_has_the_same_effect(model_type, cheap):
    """On the mean and deviation of logits over 4,000 equal rows; errors of four standard deviations are allowed."""
    names = ("attention_probs_dropout_prob", "hidden_dropout_prob", "attention_dropout", "dropout", "mlp_dropout")
    model = tiny(model_type, HEADS[0], initializer_range=0.3, **dict.fromkeys(names, 0.3)).train()
    short = unpadded_copy(model, first_token=True)
    if cheap:
        use_cheap_dropout(short)
    row = batch(3)
    inputs = {name: tensor.expand(4000, -1) for name, tensor in row.items()}
    with torch.no_grad():
        expected, actual = model(**inputs).logits, run_unpadded(short, inputs).logits
    spread = expected.std(0)
    assert ((actual.mean(0) - expected.mean(0)).abs() < spread * 4 * (2 / 4000) ** 0.5).all()
    torch.testing.assert_close(actual.std(0), spread, rtol=4 / 4000**0.5, atol=0)


def test_other_outputs_may_be_asked_for():
    model = tiny("electra", HEADS[0]).eval()
    inputs = batch(3, 7, 1, 5)
    output = run_unpadded(unpadded_copy(model, first_token=True), inputs, output_hidden_states=True, output_attentions=True)
    torch.testing.assert_close(output.logits, model(**inputs).logits, atol=1e-5, rtol=0)
