"""Measure how fast features are built, compared with the Rust tokenizer alone, and the time until the first update.

    python3 benchmarks/features_speed.py --model_name_or_path FOLDER --data_dir data --out benchmarks/results/my-machine.json

FOLDER contains config.json and the tokenizer's files. The train and test files of NSMC, 200,000 rows, are measured:

tokenizer     the Rust tokenizer encodes the texts in one call without offsets; the result is dropped
offsets       the same with offsets, as the wrapper in transformers does
features      read and check the files, build the features and write them to the cache
cached        the same again, from the cache
imports       a Python process that imports torch, transformers and accelerate, nothing from this project
first update  run_seq_cls.py with a tiny model on the sample, features cached, from its start until its first update is logged

Every figure is the median of `--rounds` processes, which take turns. Memory is the growth of the process's peak.
"""

import argparse
import json
import logging
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

IMPORTS = "import torch, accelerate; from transformers import AutoTokenizer, ElectraForSequenceClassification"
RATIOS = (("features", "tokenizer"), ("features", "offsets"), ("first update", "imports"))
MODES = {"tokenizer": "tokenizer", "offsets": "offsets", "features": "features", "cached": "features"}


def main() -> None:
    """Measure, print a table, write the JSON file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model_name_or_path", required=True, help="folder with config.json and the tokenizer's files")
    parser.add_argument("--data_dir", default="data")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, help="JSON file to write")
    parser.add_argument("--serve", choices=("tokenizer", "offsets", "features"), help=argparse.SUPPRESS)
    parser.add_argument("--cache", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if not Path(arguments.model_name_or_path, "config.json").is_file():
        parser.error(f"{arguments.model_name_or_path}: config.json is missing")
    if arguments.serve:
        logging.disable(logging.WARNING)
        print(json.dumps(serve(arguments)))
        return
    figures: dict[str, list[dict[str, float]]] = {}
    for _ in range(arguments.rounds):
        with tempfile.TemporaryDirectory() as folder:
            for name, figure in one_round(Path(folder)).items():
                figures.setdefault(name, []).append(figure)
    medians = {
        name: {key: round(statistics.median(figure[key] for figure in rounds), 3) for key in rounds[0]}
        for name, rounds in figures.items()
    }
    ratios = {f"{one} / {other}": round(medians[one]["seconds"] / medians[other]["seconds"], 2) for one, other in RATIOS}
    from benchmarks.machine import describe_machine, print_table

    rows = [
        [name, figure["seconds"], round(figure["bytes"] / 2**20) if "bytes" in figure else "-"]
        for name, figure in medians.items()
    ]
    print_table(f"NSMC, {medians['tokenizer']['rows']:,.0f} rows", ["", "s", "MB"], rows)
    print("\n" + ", ".join(f"{name} {value}" for name, value in ratios.items()))
    if arguments.out:
        report = {"machine": describe_machine(), "rounds": arguments.rounds, "figures": medians, "ratios": ratios}
        arguments.out.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


def one_round(folder: Path) -> dict[str, dict[str, float]]:
    """Measure every figure once."""
    cache = ["--cache", str(folder / "cache")]
    figures = {name: run_alone("--serve", mode, *cache) for name, mode in MODES.items()}
    first_update(folder)  # builds the features
    started = time.time()
    subprocess.run([sys.executable, "-c", IMPORTS], check=True)
    figures["imports"] = {"seconds": time.time() - started}
    figures["first update"] = {"seconds": first_update(folder)}
    return figures


def run_alone(*flags: str) -> dict[str, Any]:
    """Run this script in a new process and return what it measures."""
    command = [sys.executable, __file__, *sys.argv[1:], *flags]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        sys.exit(done.returncode)  # it has printed the reason
    return dict(json.loads(done.stdout.splitlines()[-1]))


def first_update(folder: Path) -> float:
    """Return the seconds from the start of a command to the end of its first update."""
    command = [sys.executable, "run_seq_cls.py", "--task", "nsmc", "--config_file", "tiny.json", "--data_dir", "data/sample"]
    places = ["--ckpt_dir", str(folder), "--output_dir", "run", "--feature_cache_dir", str(folder / "features")]
    short = ["--max_steps", "1", "--log_every", "1", "--do_eval", "false", "--overwrite_output_dir"]
    started = time.time()
    subprocess.run([*command, *places, *short], check=True, cwd=ROOT, capture_output=True)
    return (folder / "run" / "log.jsonl").stat().st_mtime - started


def serve(arguments: argparse.Namespace) -> dict[str, float]:
    """Build features, or only tokenize the texts; return rows, seconds and bytes."""
    from benchmarks.machine import process_peak
    from processor.definition import TASKS
    from processor.download import find_files
    from processor.kinds import load_split
    from processor.seq_cls import read_examples
    from src.model.load import load_tokenizer
    from src.settings.layers import load_settings

    task = TASKS["nsmc"]
    given = {"data_dir": arguments.data_dir, "feature_cache_dir": arguments.cache, "do_lower_case": "false"}
    given |= {"model_name_or_path": arguments.model_name_or_path, "from_scratch": "true"}
    flags = [word for name, value in given.items() for word in (f"--{name}", value)]
    settings = load_settings(["--task", "nsmc", *flags], script="benchmark", tasks=TASKS)
    tokenizer = load_tokenizer(settings)
    files = find_files(settings, task)
    texts: list[str] = []
    if arguments.serve != "features":
        texts = [example.texts[0] for file in files.values() for example in read_examples(file.path, task)[0]]
        tokenizer.backend_tokenizer.enable_truncation(settings.max_seq_len)
    before, started = process_peak(), time.perf_counter()
    if arguments.serve == "tokenizer":
        rows = len(tokenizer.backend_tokenizer.encode_batch_fast(texts))
    elif arguments.serve == "offsets":
        rows = len(tokenizer.backend_tokenizer.encode_batch(texts))
    else:
        splits = [load_split(name, file, settings, task, tokenizer) for name, file in files.items()]
        rows = sum(map(len, splits))
    return {"rows": rows, "seconds": time.perf_counter() - started, "bytes": process_peak() - before}


if __name__ == "__main__":
    from src.common.cli import run_command

    run_command(main)
