import torch

from tests.src.encoders import layout_of


def test_layout_of_a_small_batch():
    layout = layout_of(torch.tensor([[1, 1, 0], [1, 0, 0], [1, 1, 1]]))
    assert layout.indices.tolist() == [0, 1, 3, 6, 7, 8]
    tokens = torch.tensor([[1], [2], [3], [4], [5], [6]])
    batch = layout.pad(tokens)
    assert batch[:, :, 0].tolist() == [[1, 2, 0], [3, 0, 0], [4, 5, 6]]
    assert layout.unpad(batch)[:, 0].tolist() == [1, 2, 3, 4, 5, 6]
    assert layout.first_tokens(tokens).tolist() == [[[1]], [[3]], [[4]]]
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
