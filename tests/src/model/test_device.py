import subprocess

import pytest
import torch

from src.common.errors import ConfigError
from src.common.version import VERSION
from src.model.device import describe_environment, peak_memory
from src.model.layers import compile_layers
from src.training.start import start_device
from tests.conftest import ROOT
from tests.src.helpers import small_model


def test_a_cpu_uses_float32_and_rejects_fp16(settings):
    accelerator = start_device(settings(no_cuda=True))
    assert (accelerator.device.type, accelerator.mixed_precision) == ("cpu", "no")
    with pytest.raises(ConfigError, match=r"mixed_precision = fp16 \(command line\).*GPU"):
        start_device(settings(no_cuda=True, mixed_precision="fp16"))


def test_the_seed_determines_the_random_state(settings):
    draws = []
    for seed in (1, 1, 2):
        start_device(settings(seed=seed))
        draws.append(torch.rand(1).item())
    assert draws[0] == draws[1] != draws[2]


def test_describes_versions_precision_and_commit(settings):
    record = describe_environment(start_device(settings()))
    assert record["versions"]["torch"] == torch.__version__
    assert record["mixed_precision"] == "no" and record["version"] == VERSION
    if (ROOT / ".git").exists():
        head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
        assert record["git_revision"].rstrip("+") == head


def test_peak_memory_is_in_bytes():
    assert 50e6 < peak_memory(torch.device("cpu")) < 1e12


@pytest.mark.parametrize(
    ("wanted", "device", "compiles"),
    [("auto", "cpu", False), ("auto", "cuda", True), ("auto", "mps", False), (True, "cpu", True), (False, "cuda", False)],
)
def test_auto_compiles_the_layers_on_a_gpu_only(wanted, device, compiles, monkeypatch):
    model, compiled = small_model(), []
    monkeypatch.setattr(torch.nn.Module, "compile", lambda layer, **options: compiled.append(layer))
    compile_layers(model, wanted, torch.device(device))
    assert compiled == (list(model.electra.encoder.layer) if compiles else [])
