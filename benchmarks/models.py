"""Write a model's folder to measure: config.json in one of three shapes, and a tokenizer. The weights are random.

python3 benchmarks/models.py small FOLDER --vocab vocab.txt
"""

import argparse
import json
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from src.common.cli import run_command

SAMPLE = ROOT / "data" / "sample" / "tiny-electra" / "vocab.txt"
VOCABULARY = 35_000  # the number of embeddings of KoELECTRA, however many of them the vocabulary uses
SIZES = ("embedding_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
SHAPES = {
    "tiny": (64, 64, 2, 2, 128),
    "small": (128, 256, 12, 4, 1024),
    "base": (768, 768, 12, 12, 3072),
}
NO_DROPOUT = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}


def main() -> None:
    """Write the folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shape", choices=SHAPES, help="small, base: of KoELECTRA; tiny: to try things")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--vocab", type=Path, default=SAMPLE, help="vocab.txt; default: that of the sample")
    parser.add_argument("--no_dropout", action="store_true", help="to compare losses between devices")
    given = parser.parse_args()
    if not given.vocab.is_file():
        parser.error(f"{given.vocab}: no such file")
    write_model(given.folder, given.shape, given.vocab, dropout=not given.no_dropout)


def write_model(folder: Path, shape: str, vocab: Path = SAMPLE, dropout: bool = True) -> None:
    """Write config.json, vocab.txt and tokenizer_config.json."""
    folder.mkdir(parents=True, exist_ok=True)
    entries = max(VOCABULARY, len(vocab.read_text(encoding="utf-8").splitlines()))
    config = {"model_type": "electra", "vocab_size": entries, "pad_token_id": 0, **dict(zip(SIZES, SHAPES[shape], strict=True))}
    tokenizer = {"tokenizer_class": "ElectraTokenizer", "do_lower_case": False}
    (folder / "config.json").write_text(json.dumps(config | ({} if dropout else NO_DROPOUT), indent=2) + "\n")
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer) + "\n")
    shutil.copyfile(vocab, folder / "vocab.txt")


if __name__ == "__main__":
    run_command(main)
