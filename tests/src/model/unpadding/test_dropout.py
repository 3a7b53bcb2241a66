import copy

import pytest
import torch
from torch import nn

from src.model.unpadding.dropout import cheap_dropout, use_cheap_dropout
from tests.src.helpers import small_model


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_drops_the_right_share_and_keeps_the_mean(p):
    """Of a million elements, so the standard deviation of the share is at most 0.0005."""
    torch.manual_seed(0)
    output = cheap_dropout(torch.ones(1000, 1001), p)
    assert (output == 0).float().mean().item() == pytest.approx(p, abs=0.002)
    assert output.mean().item() == pytest.approx(1, abs=0.01 if p < 0.9 else 0.02)
    assert output.unique().tolist() == pytest.approx([0, 1 / (1 - p)], rel=1e-3)
    # Neighbours come from one random number, but must be independent.
    kept = (output != 0).float().flatten()
    for distance in (1, 2, 3, 4):
        assert abs(torch.corrcoef(torch.stack([kept[distance:], kept[:-distance]]))[0, 1]) < 0.005


def test_drops_nothing_or_everything():
    values = torch.randn(3, 5)
    assert torch.equal(cheap_dropout(values, 0.0), values)
    assert torch.equal(cheap_dropout(values, 1.0), torch.zeros(3, 5))


def test_the_gradient_is_that_of_the_kept_values():
    values = torch.randn(7, 3, requires_grad=True)
    output = cheap_dropout(values, 0.5)
    output.sum().backward()
    assert torch.equal(values.grad, (output != 0) * 2.0)


def test_draws_from_the_generator_of_torch():
    draws = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        draws.append(cheap_dropout(torch.ones(50), 0.5))
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])


def test_a_model_drops_only_in_training_and_is_saved_unchanged(tmp_path):
    model = small_model(dropout=0.5)
    plain = copy.deepcopy(model)
    use_cheap_dropout(model)
    inputs = {"input_ids": torch.tensor([[3, 4, 5]])}
    model.eval()
    plain.eval()
    assert torch.equal(model(**inputs).logits, plain(**inputs).logits)
    model.train()
    assert not torch.equal(model(**inputs).logits, model(**inputs).logits)
    assert model.state_dict().keys() == plain.state_dict().keys()
    model.save_pretrained(tmp_path)
    assert isinstance(model.electra.embeddings.dropout, nn.Dropout)
