import copy

import numpy as np
import pytest
import torch
import torch._dynamo
from safetensors.torch import load_file

from src.model.layers import compile_layers
from src.model.unpadding.unpad import LAST_MODULE, can_unpad, unpad_encoder
from tests.src.encoders import HEADS, assert_same, batch, run_unpadded, tiny, unpadded_copy, without_dropout


@pytest.mark.parametrize("auto_class", HEADS)
@pytest.mark.parametrize("model_type", LAST_MODULE)
def test_logits_and_gradients_equal_those_of_the_padded_model(model_type, auto_class):
    model = tiny(model_type, auto_class).eval()
    assert can_unpad(model)
    assert_same(model, unpadded_copy(model), batch(3, 7, 1, 5))


@pytest.mark.parametrize(("model_type", "entry"), [("deberta-v2", {"conv_kernel_size": 3}), ("bert", {"is_decoder": True})])
def test_models_that_mix_tokens_otherwise_stay_padded(model_type, entry):
    assert not can_unpad(tiny(model_type, HEADS[0], **entry))


@pytest.mark.parametrize(
    ("model_type", "name"),
    [("bert", "encoder.layer.0.intermediate"), ("deberta-v2", "encoder.layer.0.attention.self.query_proj"),
     ("albert", "encoder.embedding_hidden_mapping_in")],
)  # fmt: skip
def test_the_encoder_processes_only_real_tokens(model_type, name):
    model = unpadded_copy(tiny(model_type, HEADS[0]).eval())
    shapes = []
    model.base_model.get_submodule(name).register_forward_hook(lambda module, inputs, output: shapes.append(inputs[0].shape[:-1]))
    run_unpadded(model, batch(3, 7, 1, 5))
    assert shapes == [(1, 16)]


def test_saved_files_are_unchanged(tmp_path):
    model = tiny("electra", HEADS[0])
    unpadded_copy(model, first_token=True).save_pretrained(tmp_path)
    assert "unpadded" not in (tmp_path / "config.json").read_text()
    assert load_file(tmp_path / "model.safetensors").keys() == model.state_dict().keys()


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")  # read by torch's tracer
@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated")  # used by torch's compiler
@pytest.mark.parametrize(
    ("model_type", "first_token", "backend", "graphs"),
    [
        ("electra", True, "eager", 6),
        ("modernbert", False, "eager", 3),
        pytest.param("electra", False, "eager", 3, marks=pytest.mark.long),
        pytest.param("modernbert", True, "eager", 6, marks=pytest.mark.long),
        pytest.param("deberta-v2", False, "eager", 3, marks=pytest.mark.long),
        pytest.param("electra", False, "inductor", 3, marks=pytest.mark.long),
        pytest.param("electra", True, "inductor", 6, marks=pytest.mark.long),
    ],
)
def test_compiled_layers_process_batches_of_every_shape(model_type, first_token, backend, graphs, monkeypatch):
    """With the same results, traced without graph breaks and only once for each kind of layer."""
    plain = torch.nn.Module.compile
    monkeypatch.setattr(
        torch.nn.Module, "compile", lambda layer, **options: plain(layer, **options, backend=backend, fullgraph=True)
    )
    model = without_dropout(tiny(model_type, HEADS[0])).train()
    unpad_encoder(model, first_token)
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
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] <= graphs
