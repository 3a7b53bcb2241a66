"""The model folder of config/tiny.json: the config of a tiny ELECTRA, its vocabulary, its tokenizer's settings."""

import json
import re
import string
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

VOCAB_SIZE = 3000
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def write(path: Path, content: str) -> None:
    """Write a text file, creating missing folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8", newline="\n")


def word_pieces(texts: Sequence[str], size: int) -> list[str]:
    """Return a WordPiece vocabulary: every character, and the beginnings and ends of words that cover most text.

    The trainer of the tokenizers package breaks ties at random and would write different bytes every time.
    """
    words = Counter(word for text in texts for word in re.findall(r"\w+|[^\w\s]", text))
    covered: Counter[str] = Counter()
    characters = set(string.digits + string.ascii_letters + string.punctuation)
    for word, count in words.items():
        characters.update(word)
        for cut in range(1, len(word)):
            covered[word[: cut + 1]] += count * (cut + 1)
            if cut > 1:
                covered[f"##{word[-cut:]}"] += count * cut
    single = [piece for character in sorted(characters) for piece in (character, f"##{character}")]
    longer = sorted(covered, key=lambda piece: (-covered[piece], piece))
    return [*SPECIAL, *single, *longer][:size]


def make_tiny_model(folder: Path, texts: Sequence[str]) -> None:
    """Write the folder that `from_scratch: true` starts from, with a vocabulary of `texts`."""
    vocab = word_pieces(texts, VOCAB_SIZE)
    write(folder / "vocab.txt", "".join(f"{piece}\n" for piece in vocab))
    config = {
        "model_type": "electra",
        "vocab_size": len(vocab),
        "embedding_size": 64,
        "hidden_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 128,
        "max_position_embeddings": 512,
        "type_vocab_size": 2,
        "pad_token_id": 0,
    }
    write(folder / "config.json", json.dumps(config, indent=2) + "\n")
    tokenizer = {"tokenizer_class": "BertTokenizer", "do_lower_case": False, "model_max_length": 512}
    write(folder / "tokenizer_config.json", json.dumps(tokenizer, indent=2) + "\n")
