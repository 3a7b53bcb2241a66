"""Folders of tiny models, one per family, with the files of published models except for weights."""

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from tests.conftest import SAMPLE

SHAPE = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
WORDPIECES = (SAMPLE / "tiny-electra" / "vocab.txt").read_text(encoding="utf-8").split()
CHARACTERS = sorted({character for piece in WORDPIECES[5:] for character in piece.removeprefix("##")})


def write(folder: Path, name: str, content: object) -> None:
    """Write a text, or anything else as JSON, into a file."""
    text = content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)
    (folder / name).write_text(text, encoding="utf-8")


def change(folder: Path, name: str, **entries: object) -> None:
    """Set entries of a JSON file, which need not exist."""
    path = folder / name
    write(folder, name, (json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}) | entries)


def write_pointer(path: Path) -> None:
    """Write what a clone without git-lfs has instead of a large file."""
    path.write_text(f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 123456\n", encoding="utf-8")


# Each function writes the files of a tokenizer and returns the size of its vocabulary.


def _wordpiece(folder: Path) -> int:
    """Write the vocabulary of a BERT tokenizer."""
    shutil.copy(SAMPLE / "tiny-electra" / "vocab.txt", folder)
    write(folder, "tokenizer_config.json", {"tokenizer_class": "BertTokenizer", "do_lower_case": False})
    return len(WORDPIECES)


def _byte_level(folder: Path) -> int:
    """Write vocab.json and merges.txt of a byte-level BPE tokenizer."""
    from tokenizers import pre_tokenizers

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    names = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", *letters]
    write(folder, "vocab.json", {name: number for number, name in enumerate(names)})
    write(folder, "merges.txt", "#version: 0.2\n")
    write(folder, "tokenizer_config.json", {"tokenizer_class": "RobertaTokenizer", "max_len": 512})
    return len(names)


def _unigram(folder: Path, tokenizer_class: str, before: str, after: str, pad: str, unk: str) -> int:
    """Write tokenizer.json of a Unigram tokenizer. before, after: the special tokens around a text."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    special = [before, pad, after, unk, "<mask>" if before == "<s>" else "[MASK]"]
    pieces = [(name, 0.0) for name in special] + [("▁", -2.0), *((character, -3.0) for character in CHARACTERS)]
    backend = Tokenizer(models.Unigram(pieces, unk_id=3))
    backend.normalizer = normalizers.NFKC()
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    between = f"{after} {after}" if before == "<s>" else after
    segment = "" if before == "<s>" else ":1"
    backend.post_processor = processors.TemplateProcessing(
        single=f"{before} $A {after}",
        pair=f"{before} $A {between} $B{segment} {after}{segment}",
        special_tokens=[(before, 0), (after, 2)],
    )
    backend.add_special_tokens(special)
    backend.save(str(folder / "tokenizer.json"))
    names = ("bos_token", "pad_token", "eos_token", "unk_token", "mask_token")
    config = dict(zip(names, special, strict=True)) | {"cls_token": before, "sep_token": after}
    write(folder, "tokenizer_config.json", {"tokenizer_class": tokenizer_class, **config})
    return len(pieces)


def _xlm_roberta(folder: Path) -> int:
    return _unigram(folder, "XLMRobertaTokenizer", "<s>", "</s>", "<pad>", "<unk>")


def _deberta(folder: Path) -> int:
    return _unigram(folder, "DebertaV2Tokenizer", "[CLS]", "[SEP]", "[PAD]", "[UNK]")


def _kobert(folder: Path) -> int:
    """Write a SentencePiece model and vocab.txt."""
    import sentencepiece

    text = folder / "text"
    text.write_text("\n".join(piece.removeprefix("##") for piece in WORDPIECES[5:]), encoding="utf-8")
    sentencepiece.SentencePieceTrainer.train(
        input=str(text), model_prefix=str(folder / "spm"), vocab_size=1200, character_coverage=1.0, hard_vocab_limit=False,
        unk_id=0, pad_id=1, bos_id=-1, eos_id=-1, unk_piece="[UNK]", pad_piece="[PAD]",
        control_symbols=["[CLS]", "[SEP]", "[MASK]"], minloglevel=2,
    )  # fmt: skip
    processor = sentencepiece.SentencePieceProcessor(model_file=str(folder / "spm.model"))
    pieces = [processor.id_to_piece(number) for number in range(len(processor))]
    write(folder, "vocab.txt", "".join(f"{piece}\n" for piece in pieces))
    (folder / "spm.model").rename(folder / "tokenizer_78b3253a26.model")
    (folder / "spm.vocab").unlink()
    text.unlink()
    return len(pieces)


ANALYSER = r"""
#include <stdio.h>
#include <string.h>
/* Like the published analyser: spaces between morphemes, "~~" before a morpheme that continues a word. Splits words after two
   syllables and turns "했" into "하" and "~~았". */
static int opened = 0;
void MorAn16_open_dbs(void) { opened++; }
void MorAn_close_dbs(void) { opened--; }
char* Moran4dnlp(char* in, char* out, int size) {
    size_t written = 0, syllables = 0;
    if (!opened || strlen(in) >= 102400 || !strcmp(in, "\x7f")) return NULL;
    for (size_t i = 0; in[i] && written + 16 < (size_t)size;) {
        unsigned char first = (unsigned char)in[i];
        int width = first < 0x80 ? 1 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
        if (first == ' ') syllables = 0;
        else if (!strncmp(in + i, "했", 3)) {
            written += sprintf(out + written, "%s하 ~~았", syllables ? " ~~" : "");
            i += 3;
            syllables = 2;
            continue;
        }
        else if (++syllables == 3) { written += sprintf(out + written, " ~~"); syllables = 1; }
        memcpy(out + written, in + i, width);
        written += width;
        i += width;
    }
    out[written] = 0;
    return out;
}
char* Moran4match(char* text, char* tokens, char* out, int size) {
    (void)text; (void)tokens; (void)size;
    out[0] = 0;
    return out;
}
"""


def build_analyser(folder: Path, source: str = ANALYSER) -> None:
    """Compile the library into `folder` with gcc."""
    (folder / "moran.c").write_text(source, encoding="utf-8")
    command = ["gcc", "-shared", "-fPIC", "-o", str(folder / "libmoran4dnlp.so"), str(folder / "moran.c")]
    subprocess.run(command, check=True, capture_output=True)
    (folder / "moran.c").unlink()


def _hanbert(folder: Path) -> int:
    """Write a vocabulary and a native analyser."""
    build_analyser(folder)
    continuations = [f"~~{character}" for character in CHARACTERS]
    write(folder, "vocab_54k.txt", "".join(f"{piece}\n" for piece in [*WORDPIECES, *continuations]))
    return len(WORDPIECES) + len(continuations)


NO_SEGMENTS = {"type_vocab_size": 1, "max_position_embeddings": 514}
DISTIL = {"dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 32}
RELATIVE = {"relative_attention": True, "position_biased_input": False, "pos_att_type": ["p2c", "c2p"], "type_vocab_size": 0}

# name: (model_type, function that writes the tokenizer, other entries of config.json, setting `tokenizer`)
FAMILIES: dict[str, tuple[str, Callable[[Path], int], dict[str, object], str | None]] = {
    "bert": ("bert", _wordpiece, {}, None),
    "electra": ("electra", _wordpiece, {"embedding_size": 8}, None),
    "distilbert": ("distilbert", _wordpiece, DISTIL, None),
    "albert": ("albert", _wordpiece, {"embedding_size": 8, "max_position_embeddings": 256}, None),
    "roberta": ("roberta", _byte_level, NO_SEGMENTS | {"pad_token_id": 1}, None),
    # A RoBERTa with BERT's tokenizer: segment 1 would be outside the embeddings.
    "klue-roberta": ("roberta", _wordpiece, NO_SEGMENTS, None),
    "xlm-roberta": ("xlm-roberta", _xlm_roberta, NO_SEGMENTS | {"pad_token_id": 1}, None),
    "deberta-v2": ("deberta-v2", _deberta, RELATIVE | {"pad_token_id": 1}, None),
    "modernbert": ("modernbert", _deberta, {"max_position_embeddings": 1024, "pad_token_id": 1}, None),
    "kobert": ("bert", _kobert, {"pad_token_id": 1}, "kobert"),
    "distilkobert": ("distilbert", _kobert, DISTIL | {"pad_token_id": 1}, "kobert"),
    "hanbert": ("bert", _hanbert, {}, "hanbert"),
}


def make_family(name: str, folder: Path) -> dict[str, object]:
    """Write the model of a family to `folder` and return the settings for it."""
    model_type, write_tokenizer, changes, tokenizer = FAMILIES[name]
    folder.mkdir()
    size = write_tokenizer(folder)
    base = {"model_type": model_type, "vocab_size": size, "max_position_embeddings": 512, "type_vocab_size": 2, "pad_token_id": 0}
    write(folder, "config.json", base | SHAPE | changes)
    given: dict[str, object] = {"model_name_or_path": folder, "from_scratch": True, "output_dir": name}
    if tokenizer:
        given["tokenizer"] = tokenizer
    if tokenizer == "hanbert":
        given["trust_native_code"] = True
    return given
