"""Check on a GPU what a CPU cannot: precisions, compilation, resuming, full memory. Prints a line per check.

    python3 benchmarks/gpu_checks.py

Losses are those of a model without dropout on the sample. They are compared with those of the CPU, in fp32.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import torch

from benchmarks.models import write_model
from src.common.cli import run_command
from src.model.device import choose_type
from src.runs.files import LOG_LINES

UPDATES = 20
RUN = ["run_seq_cls.py", "--task", "nsmc", "--data_dir", "data/sample", "--from_scratch", "true", "--max_seq_len", "64"]
FEW = ["--max_steps", str(UPDATES), "--log_every", "1", "--do_eval", "false", "--save_steps", "1000", "--learning_rate", "1e-4"]
# Flags -> how far the loss of an update may be from that of the CPU.
PRECISIONS: Mapping[str, tuple[Sequence[str], float]] = {
    "fp32": (("--mixed_precision", "no", "--torch_compile", "false"), 5e-3),
    "bf16": (("--mixed_precision", "bf16", "--torch_compile", "false"), 5e-2),
    "fp16, with the scaler": (("--mixed_precision", "fp16", "--torch_compile", "false"), 5e-2),
    "the defaults: auto, compiled": ((), 5e-2),
    "the defaults, bucketed": (("--batching", "bucketed"), 5e-2),
}
# Runs a command with only so much of the GPU's memory.
LIMITED = """
import runpy, sys, torch
torch.cuda.set_per_process_memory_fraction({bytes} / torch.cuda.get_device_properties(0).total_memory)
sys.argv = {argv}
runpy.run_path(sys.argv[0], run_name="__main__")
"""


class Checks:
    """The checks, which share a folder with a model and the runs."""

    def __init__(self, folder: Path, shape: str) -> None:
        self.folder = folder
        write_model(folder / "model", shape, dropout=False)

    def command(self, name: str, *flags: str) -> list[str]:
        """Return the command line of a run in the folder `name`."""
        places = ["--model_name_or_path", str(self.folder / "model"), "--ckpt_dir", str(self.folder), "--output_dir", name]
        return [*RUN, *FEW, *places, *flags]

    def run(self, name: str, *flags: str) -> list[float]:
        """Train, and return the loss of every update."""
        done = subprocess.run([sys.executable, *self.command(name, *flags)], cwd=ROOT, capture_output=True, text=True)
        if done.returncode:
            raise AssertionError(done.stderr[-2000:])
        return self.losses(name)

    def losses(self, name: str) -> list[float]:
        """Return the losses that a run has logged."""
        lines = (self.folder / name / LOG_LINES).read_text(encoding="utf-8").splitlines()
        return [line["loss"] for line in map(json.loads, lines) if "loss" in line]

    def precision(self, flags: Sequence[str], tolerance: float) -> str:
        """Compare the losses with those of the CPU."""
        order = [flag for flag in flags if flag in ("--batching", "bucketed")]
        expected = self.run(f"cpu{len(order)}", "--no_cuda", "true", *order)
        actual = self.run("-".join(["gpu", *(flag.strip("-") for flag in flags)]), *flags)
        furthest = max(abs(one - other) for one, other in zip(expected, actual, strict=True))
        assert furthest <= tolerance, f"a loss differs by {furthest:.4f}, more than {tolerance}"
        return f"losses differ by {furthest:.1e} at most"

    def resume(self) -> str:
        """Interrupt a run, resume it, and compare its weights with those of a run that was not interrupted."""
        self.run("whole")
        process = subprocess.Popen([sys.executable, *self.command("halves")], cwd=ROOT, stderr=subprocess.DEVNULL)
        log = self.folder / "halves" / LOG_LINES
        while process.poll() is None and (not log.is_file() or len(log.read_text().splitlines()) < UPDATES // 4):
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        code = process.wait()
        assert code == 143, f"the run was not interrupted: it ended with {code}"
        self.run("halves")
        one, other = (self.folder / name / f"checkpoint-{UPDATES}" / "model.safetensors" for name in ("whole", "halves"))
        assert one.read_bytes() == other.read_bytes(), "the weights differ from those of a run that was not interrupted"
        return "the same bytes of the weights"

    def full_memory(self) -> str:
        """Train with too little memory for a whole batch: the run must split it and end."""
        flags = ["--train_batch_size", "256", "--padding", "max_length", "--max_seq_len", "512", "--max_steps", "3"]
        flags += ["--torch_compile", "false", "--mixed_precision", "no"]
        code = LIMITED.format(bytes=4 * 2**30, argv=self.command("full", *flags))
        done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-2000:]
        assert "memory is full" in done.stderr, "4 GiB were enough"
        return f"{done.stderr.count('memory is full')} splits"


def main() -> None:
    """Run the checks; exit with 1 if one fails."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--without_gpu", action="store_true", help="run the checks that a CPU can, to try this script")
    given = parser.parse_args()
    on_gpu = torch.cuda.is_available()
    if not on_gpu and not given.without_gpu:
        parser.error("no GPU is available")
    os.environ["PYTHONWARNINGS"] = "ignore"
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        checks = Checks(Path(folder), "small" if on_gpu else "tiny")
        names: dict[str, Callable[[], str]] = {
            name: partial(checks.precision, flags, tolerance)
            for name, (flags, tolerance) in PRECISIONS.items()
            if on_gpu or "fp16" not in flags
        }
        names["resuming"] = checks.resume
        if on_gpu:
            names["full memory"] = checks.full_memory
        print(f"device: {choose_type(no_cuda=False)}")
        for name, check in names.items():
            started = time.perf_counter()
            try:
                result = f"passed  {check()}"
            except AssertionError as error:
                failed += 1
                result = f"FAILED  {error}"
            print(f"{name:<32} {result} ({time.perf_counter() - started:.0f} s)", flush=True)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    run_command(main)
