"""Measure how fast features are built, compared with the Rust tokenizer alone, and the time until the first update.

    python3 benchmarks/features_speed.py --model_name_or_path FOLDER --data_dir data --out benchmarks/results/my-machine.json

The train and test files of NSMC, 200,000 rows, are measured. The ways:

tokenizer     the Rust tokenizer encodes the texts in one call without offsets; the result is dropped
features      read and check the files, build the features and write them to the cache
cached        the same again, from the cache
imports       a Python process that imports torch, transformers and accelerate, nothing from this project
first update  run_seq_cls.py with a tiny model on the sample, features cached, until its first update is logged

Ratios are those of the medians of `--rounds` turns.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from src.common.cli import prepare_torch, run_command

prepare_torch()

import torch

from benchmarks.measure import Turns, make_parser, parse, print_figures, settings_of, take_turns, write_report
from processor.definition import TASKS
from processor.kinds import load_split
from processor.seq_cls import read_examples
from src.model.load import load_tokenizer
from src.pipeline import find_files

NAMES = ("tokenizer", "features", "cached", "imports", "first update")
IMPORTS = "import torch, accelerate; from transformers import AutoTokenizer, ElectraForSequenceClassification"
RATIOS = (("features", "tokenizer"), ("first update", "imports"))
UPDATE = "run_seq_cls.py --task nsmc --config_file tiny.json --data_dir data/sample --max_steps 1 --log_every 1 --do_eval false"


def main() -> None:
    """Measure, print a table, write the JSON file."""
    parser = make_parser(__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parse(parser)
    ways = take_turns(serve, NAMES, arguments.rounds, arguments)
    figures = {name: way.figures() for name, way in ways.items()}
    ratios = print_figures("NSMC", figures, "median_s", RATIOS)
    write_report(arguments, rounds=arguments.rounds, ways=figures, ratios=ratios)


def serve(name: str, arguments: argparse.Namespace, turns: Turns) -> None:
    """Work in one way, in this process."""
    task, settings = TASKS["nsmc"], settings_of("nsmc", arguments)
    tokenizer, files = load_tokenizer(settings), find_files(settings, task)
    texts = [example.texts[0] for file in files.values() for example in read_examples(file.path, task)[0]]
    if name == "tokenizer":
        tokenizer.backend_tokenizer.enable_truncation(settings.max_seq_len)

    def work(folder: str) -> float:
        if name == "first update":
            return seconds_after_update(Path(folder))
        if name == "imports":
            subprocess.run([sys.executable, "-c", IMPORTS], check=True)
        elif name == "tokenizer":
            tokenizer.backend_tokenizer.encode_batch_fast(texts)
        else:
            cached = settings.model_copy(update={"feature_cache_dir": str(Path(folder, "cache"))})
            for split, file in files.items():
                load_split(split, file, cached, task, tokenizer)
        return 0.0

    with tempfile.TemporaryDirectory() as kept:
        if name in ("cached", "first update"):
            work(kept)  # builds the features
        turns.begin(torch.device("cpu"))
        while True:
            with tempfile.TemporaryDirectory() as new:
                turns.done(len(texts), excluded=work(new if name == "features" else kept))


def seconds_after_update(folder: Path) -> float:
    """Run a training of one update, and return the seconds from that to the end of the process."""
    places = ["--ckpt_dir", str(folder), "--output_dir", "run", "--feature_cache_dir", str(folder / "cache")]
    subprocess.run(
        [sys.executable, *UPDATE.split(), *places, "--overwrite_output_dir"], check=True, cwd=ROOT, capture_output=True
    )
    return time.time() - (folder / "run" / "log.jsonl").stat().st_mtime


if __name__ == "__main__":
    run_command(main)
