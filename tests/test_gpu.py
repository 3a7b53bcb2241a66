"""What only a GPU shows: precisions, compilation, resuming, full memory. A CPU runs those of the tests that it can.

Losses are those of a model without dropout on the sample. They are compared with those of the CPU, in fp32.
"""

import json
import signal
import subprocess
import sys
import time

import pytest
import torch

from benchmarks.models import write_model
from src.runs.files import LOG_LINES
from tests.conftest import ROOT

pytestmark = pytest.mark.long
ON_GPU = torch.cuda.is_available()
needs_gpu = pytest.mark.skipif(not ON_GPU, reason="there is no GPU")
UPDATES = 20
RUN = ["run_seq_cls.py", "--task", "nsmc", "--data_dir", "data/sample", "--from_scratch", "true", "--max_seq_len", "64"]
FEW = ["--max_steps", str(UPDATES), "--log_every", "1", "--do_eval", "false", "--save_steps", "1000", "--learning_rate", "1e-4"]
# Runs a command with only so much of the GPU's memory.
LIMITED = """
import runpy, sys, torch
torch.cuda.set_per_process_memory_fraction({bytes} / torch.cuda.get_device_properties(0).total_memory)
sys.argv = {argv}
runpy.run_path(sys.argv[0], run_name="__main__")
"""


class Runs:
    """The runs of one model, in a folder."""

    def __init__(self, folder):
        self.folder = folder
        write_model(folder / "model", "small" if ON_GPU else "tiny", dropout=False)

    def command(self, name, *flags):
        places = ["--model_name_or_path", str(self.folder / "model"), "--ckpt_dir", str(self.folder), "--output_dir", name]
        return [*RUN, *FEW, *places, *flags]

    def losses(self, name, *flags):
        """Train, and return the loss of every update."""
        done = subprocess.run([sys.executable, *self.command(name, *flags)], cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-2000:]
        lines = (self.folder / name / LOG_LINES).read_text(encoding="utf-8").splitlines()
        return [line["loss"] for line in map(json.loads, lines) if "loss" in line]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return Runs(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def on_cpu(runs):
    """The losses of the CPU in fp32, by the flags of the order of rows."""
    orders = [(), ("--batching", "bucketed")]
    return {order: runs.losses("-".join(["cpu", *order]), "--no_cuda", "true", *order) for order in orders}


@pytest.mark.parametrize(
    ("flags", "order", "tolerance"),
    [
        pytest.param(["--mixed_precision", "no", "--torch_compile", "false"], (), 5e-3, id="fp32"),
        pytest.param(["--mixed_precision", "bf16", "--torch_compile", "false"], (), 5e-2, id="bf16"),
        pytest.param(["--mixed_precision", "fp16", "--torch_compile", "false"], (), 5e-2, id="fp16", marks=needs_gpu),
        pytest.param([], (), 5e-2, id="defaults"),  # auto, compiled
        pytest.param([], ("--batching", "bucketed"), 5e-2, id="bucketed"),
    ],
)
def test_losses_are_near_those_of_the_cpu(runs, on_cpu, flags, order, tolerance):
    losses = runs.losses("-".join(["run", *flags, *order]).replace("--", ""), *flags, *order)
    assert losses == pytest.approx(on_cpu[order], abs=tolerance)


def test_an_interrupted_run_resumes_with_the_same_weights(runs):
    runs.losses("whole")
    process = subprocess.Popen([sys.executable, *runs.command("halves")], cwd=ROOT, stderr=subprocess.DEVNULL)
    log = runs.folder / "halves" / LOG_LINES
    while process.poll() is None and (not log.is_file() or len(log.read_text().splitlines()) < UPDATES // 4):
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    assert process.wait() == 143
    runs.losses("halves")
    one, other = (runs.folder / name / f"checkpoint-{UPDATES}" / "model.safetensors" for name in ("whole", "halves"))
    assert one.read_bytes() == other.read_bytes()


@needs_gpu
def test_full_memory_splits_the_batch(runs):
    flags = ["--train_batch_size", "256", "--padding", "max_length", "--max_seq_len", "512", "--max_steps", "3"]
    flags += ["--torch_compile", "false", "--mixed_precision", "no"]
    code = LIMITED.format(bytes=4 * 2**30, argv=runs.command("full", *flags))
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "memory is full" in done.stderr, "4 GiB were enough"
