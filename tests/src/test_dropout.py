import copy

import pytest
import torch
from torch import nn

from src.dropout import cheap_dropout, use_cheap_dropout
from tests.src.helpers import small_model


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_as_many_are_dropped_as_should_be_and_the_mean_stays(p):
    """Of a million; the standard deviation of the share is 0.0005 at most."""
    torch.manual_seed(0)
    found = cheap_dropout(torch.ones(1000, 1001), p)
    assert (found == 0).float().mean().item() == pytest.approx(p, abs=0.002)
    assert found.mean().item() == pytest.approx(1, abs=0.01 if p < 0.9 else 0.02)
    assert found.unique().tolist() == pytest.approx([0, 1 / (1 - p)], rel=1e-3)
    # Neighbours, which come of one draw, know nothing of each other.
    kept = (found != 0).float().flatten()
    for distance in (1, 2, 3, 4):
        assert abs(torch.corrcoef(torch.stack([kept[distance:], kept[:-distance]]))[0, 1]) < 0.005


def test_nothing_or_all():
    values = torch.randn(3, 5)
    assert torch.equal(cheap_dropout(values, 0.0), values)
    assert torch.equal(cheap_dropout(values, 1.0), torch.zeros(3, 5))


def test_the_gradient_is_of_what_was_kept():
    values = torch.randn(7, 3, requires_grad=True)
    found = cheap_dropout(values, 0.5)
    found.sum().backward()
    assert torch.equal(values.grad, (found != 0) * 2.0)


def test_it_follows_torch_s_generator():
    draws = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        draws.append(cheap_dropout(torch.ones(50), 0.5))
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])


def test_a_model_drops_in_training_alone_and_is_saved_as_ever(tmp_path):
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
