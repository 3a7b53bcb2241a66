import pytest

from tests.src.encoders import HEADS, assert_same, batch, run_unpadded, tiny, unpadded_copy, without_dropout


@pytest.mark.parametrize(("model_type", "name"), [("bert", "dropout"), ("deberta-v2", "dropout"), ("deberta-v2", "pos_dropout")])
def test_attention_has_dropout_in_training(model_type, name):
    model = unpadded_copy(without_dropout(tiny(model_type, HEADS[0])).train())
    inputs = batch(3, 7, 1, 5)
    assert run_unpadded(model, inputs).logits.equal(run_unpadded(model, inputs).logits)
    model.base_model.encoder.layer[0].attention.self.get_submodule(name).p = 0.5
    assert not run_unpadded(model, inputs).logits.equal(run_unpadded(model, inputs).logits)
    model.eval()
    assert run_unpadded(model, inputs).logits.equal(run_unpadded(model, inputs).logits)


@pytest.mark.parametrize("lengths", [(3, 7, 1, 5), (7, 7)])
@pytest.mark.parametrize(
    ("model_type", "dropout"),
    [("bert", {"attention_probs_dropout_prob": 1e-6, "hidden_dropout_prob": 0.0}), ("modernbert", {"attention_dropout": 1e-6})],
)
def test_attention_with_dropout_equals_that_of_the_padded_model(model_type, dropout, lengths):
    """With a probability that is rounded to 0: dropout has an implementation of its own, which drops nothing here."""
    model = tiny(model_type, HEADS[1], **dropout)
    assert_same(model.eval(), unpadded_copy(model).train(), batch(*lengths))


@pytest.mark.parametrize(
    ("lengths", "entries"),
    [
        ((3, 7, 1, 5), {"share_att_key": True, "norm_rel_ebd": "layer_norm"}),  # as microsoft/deberta-v3-base
        ((3, 7, 1, 5), {"pos_att_type": ["p2c"], "position_buckets": -1, "max_relative_positions": -1}),
        ((3, 7, 1, 5), {"pos_att_type": [], "relative_attention": False, "position_biased_input": True}),
        ((7, 7), {}),
        ((30, 9), {}),  # distances beyond max_relative_positions
        ((1,), {}),
    ],
)
def test_disentangled_attention_of_every_kind_of_config(lengths, entries):
    model = tiny("deberta-v2", HEADS[1], **{"position_biased_input": False, "initializer_range": 0.3} | entries).eval()
    assert_same(model, unpadded_copy(model), batch(*lengths))
