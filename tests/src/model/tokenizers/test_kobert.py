"""Compared with the original: its cleaning, written here from its description, and the sentencepiece package."""

import json
import math
import random
import sys
import unicodedata
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import sentencepiece
from transformers import AutoTokenizer, BertConfig

from src.common.errors import ModelError
from src.model.tokenizers.kobert import SPECIAL_TOKENS, load_kobert_tokenizer
from tests.conftest import SAMPLE

JAMO = [
    chr(code)
    for start, end in ((0x1100, 0x1113), (0x1161, 0x1176), (0x11A8, 0x11C3), (0x3131, 0x318F))
    for code in range(start, end)
]
ODD = [
    *JAMO, "\u1112\u119e\u11ab", "\ua960", "\ud7b0", "\uffa1", "\uffc2", *"가각힣뷁한글 은는",  # letters, old ones too
    *"😀👍🏽❤️👨‍👩‍👧🇰🇷1️⃣", *"韓國語字漢", "\uf900", "\ufa0e", "\U0002f800",  # emoji, hanja and compatibility ones
    *"\u0301\u0308\u0327\u20dd\ufe0f\u3099\u309a\u302e\u0345", *"éüÅǆßİﬁ",  # combining marks
    *"ＡＢ１２，．（）！　～￦", *"㎏㈜①ⅷ½²№™…·“”‘’《》",  # full-width and compatibility forms
    *"\u200b\u200c\u200d\ufeff\u2060\u00ad\u200e\u202e", *map(chr, range(32)), *"\x7f\x85\xa0\u2028\u2029\u3000\u202f\u2003",
    *"abcXYZ0123456789,.!?'\"`~()[]", "``", "''", "▁", "\ufffd", "\U000e0001", "\ue000", "\u0378",
]  # fmt: skip


def train(folder: Path, lines, vocab_size, **options):
    """Train a SentencePiece model with KoBERT's options, write its files to `folder` and return its tokenizers."""
    folder.mkdir()
    (folder / "text").write_text("\n".join(lines), encoding="utf-8")
    sentencepiece.SentencePieceTrainer.train(
        input=str(folder / "text"), model_prefix=str(folder / "m"), vocab_size=vocab_size, hard_vocab_limit=False, minloglevel=2,
        unk_id=0, pad_id=1, bos_id=-1, eos_id=-1, unk_piece="[UNK]", pad_piece="[PAD]",
        control_symbols=["[CLS]", "[SEP]", "[MASK]"], **options,
    )  # fmt: skip
    return Original(folder)


class Original:
    """The original tokenizer, and ours from the same files."""

    def __init__(self, folder: Path):
        self.processor = sentencepiece.SentencePieceProcessor(model_file=str(folder / "m.model"))
        self.pieces = [self.processor.id_to_piece(number) for number in range(len(self.processor))]
        (folder / "vocab.txt").write_text("".join(f"{piece}\n" for piece in self.pieces), encoding="utf-8")
        self.tokenizer = load_kobert_tokenizer(folder / "m.model", folder / "vocab.txt")
        self.ids = {piece: number for number, piece in enumerate(self.pieces)}
        self.scores = {
            piece: self.processor.get_score(number) for piece, number in self.ids.items() if piece not in SPECIAL_TOKENS.values()
        }
        self.unknown = min(self.scores.values()) - 10

    def tokenize(self, text):
        """Return the pieces of the original, and from how many of them it split off a comma."""
        text = " ".join(text.split()).replace("``", '"').replace("''", '"')
        text = "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
        pieces, commas = [], 0
        for piece in self.processor.encode_as_pieces(text):
            if len(piece) > 1 and piece[-1] == "," and piece[-2].isdigit():
                commas += 1
                inner = self.processor.encode_as_pieces(piece[:-1].replace("▁", ""))
                if piece[0] != "▁" and inner[0][0] == "▁":
                    inner = inner[1:] if len(inner[0]) == 1 else [inner[0][1:], *inner[1:]]
                pieces += [*inner, ","]
            else:
                pieces.append(piece)
        return pieces, commas

    def score(self, pieces):
        """Return the exact sum of the pieces' scores; all unknown characters have the same score."""
        return math.fsum(self.scores[piece] if piece in self.scores else self.unknown * len(piece) for piece in pieces)

    def compare(self, lines):
        """Count lines with the same ids and those that differ by equal scores, by commas or otherwise; return these last ones."""
        counts, others = Counter(), []
        for start in range(0, len(lines), 10_000):
            chunk = lines[start : start + 10_000]
            rows = self.tokenizer(chunk, add_special_tokens=False)
            for row, line in enumerate(chunk):
                pieces, commas = self.tokenize(line)
                ids = [self.ids.get(piece, 0) for piece in pieces]
                if ids == rows["input_ids"][row]:
                    counts["same"] += 1
                elif commas:
                    counts["comma"] += 1
                elif abs(self.score(pieces) - self.score(rows[row].tokens)) < 1e-9:
                    counts["equal scores"] += 1
                else:
                    counts["other"] += 1
                    others.append((line, pieces, rows[row].tokens))
        return counts, others


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A small model trained on the reviews and articles of the sample."""
    lines = (SAMPLE / "nsmc" / "ratings_train.txt").read_text().replace("\t", "\n").splitlines()
    articles = json.loads((SAMPLE / "korquad" / "KorQuAD_v1.0_train.json").read_text())["data"]
    lines += [article["paragraphs"][0]["context"] for article in articles]
    return train(tmp_path_factory.mktemp("kobert") / "small", lines, 1000)


def real_texts(shared):
    folder = shared / "data" / "standin"
    for name in ("ratings_train.txt", "ratings_test.txt"):
        for line in (folder / "nsmc" / name).read_text(encoding="utf-8").split("\n")[1:-1]:
            yield line.split("\t")[1]
    for path in sorted([*folder.glob("kor*/*.tsv"), *folder.glob("paws/*.tsv"), *folder.glob("question-pair/*.tsv")]):
        for line in path.read_text(encoding="utf-8").split("\n")[1:]:
            yield from (field for field in line.split("\t") if len(field) > 5)


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    """A model with as many pieces as KoBERT's, trained on real texts, and these texts."""
    from tests.conftest import SHARED

    if not SHARED.is_dir():
        pytest.skip(f"needs the real data in {SHARED.name}/ beside the checkout")
    lines = list(real_texts(SHARED))
    sample = random.Random(0).sample(lines, 60_000)
    return train(tmp_path_factory.mktemp("kobert") / "real", sample, 8002, character_coverage=0.9995), lines


def test_adds_special_tokens_and_segments(small):
    tokenizer = small.tokenizer
    assert [tokenizer.convert_tokens_to_ids(token) for token in ("[UNK]", "[PAD]", "[CLS]", "[SEP]")] == [0, 1, 2, 3]
    assert tokenizer.pad_token_id == 1
    row = tokenizer("정말", "좋다")
    first, second = (tokenizer(text, add_special_tokens=False)["input_ids"] for text in ("정말", "좋다"))
    assert row["input_ids"] == [2, *first, 3, *second, 3]
    assert row["token_type_ids"] == [0] * (len(first) + 2) + [1] * (len(second) + 1)
    assert tokenizer("")["input_ids"] == tokenizer(" \n ")["input_ids"] == [2, 3]


def test_offsets_refer_to_the_text_before_normalization(small):
    text = "Ａ  ㅋㅋ①서울é"
    row = small.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    surfaces = dict(zip(row.tokens(), (text[start:end] for start, end in row["offset_mapping"]), strict=True))
    assert (surfaces["A"], surfaces["1"], surfaces["e"]) == ("Ａ", "①", "é")
    covered = {position for start, end in row["offset_mapping"] for position in range(start, end)}
    assert "".join(text[position] for position in sorted(covered)).replace(" ", "") == text.replace(" ", "")


def test_auto_tokenizer_loads_the_saved_one(small, tmp_path):
    small.tokenizer.save_pretrained(tmp_path)
    BertConfig(vocab_size=len(small.pieces)).save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path, trust_remote_code=False)
    assert loaded.backend_tokenizer.to_str() == small.tokenizer.backend_tokenizer.to_str()
    text = ("연기가 최고다ㅋㅋ 1990년", "정말?")
    assert loaded(*text, return_offsets_mapping=True) == small.tokenizer(*text, return_offsets_mapping=True)


def test_normalizes_unusual_characters_as_the_original(small):
    """In random strings."""
    rng = random.Random(1)
    lines = ["".join(rng.choice(ODD) for _ in range(rng.randrange(1, 12))) for _ in range(20_000)]
    counts, others = small.compare(lines)
    assert others == []
    assert counts["same"] > 19_900, counts


@pytest.mark.parametrize("step", [9, pytest.param(1, marks=pytest.mark.long)])
def test_normalizes_every_assigned_character_as_the_original(small, step):
    """Or every ninth one, and all letters of Korean."""
    assigned = [code for code in range(1, sys.maxunicode + 1) if unicodedata.category(chr(code)) not in ("Cn", "Co", "Cs")]
    codes = sorted({*assigned[::step], *range(0x1100, 0x1200), *range(0x3130, 0x3190)})
    counts, others = small.compare([f"가{chr(code)}나{chr(code)} {chr(code)}b" for code in codes])
    assert others == []
    assert sum(counts.values()) > 140_000 // step


@pytest.mark.parametrize("rule", ["nfkc", "nmt_nfkc_cf", "identity"])
def test_applies_other_normalizations_of_the_model(tmp_path, rule):
    lines = (SAMPLE / "nsmc" / "ratings_train.txt").read_text().replace("\t", "\n").splitlines()
    model = train(tmp_path / "m", lines, 500, normalization_rule_name=rule)
    text = ["ＡＢＣ ㈜한빛 ㅋㅋㅋ", "Oh! 1990년 연기가 최고다", "㎏ ½ é 韓國語"]
    assert model.compare(text)[1] == []


def test_differs_from_the_original_in_commas_only(tmp_path):
    """For a model with pieces such as "1,", which the original splits again."""
    rng = random.Random(0)
    lines = [", ".join(str(rng.randrange(1, 30)) for _ in range(8)) + "," for _ in range(2000)]
    model = train(tmp_path / "m", lines, 120, split_by_unicode_script=False, split_by_number=False)
    assert any(len(piece) > 1 and piece[-1] == "," and piece[-2].isdigit() for piece in model.scores)
    counts, others = model.compare(lines[:500])
    assert others == []
    assert counts["comma"] > 0


@pytest.mark.long
def test_segments_all_real_texts_as_the_original(real, record_property):
    model, lines = real
    counts, others = model.compare(lines)
    record_property("counts", dict(counts))
    assert sum(counts.values()) >= 200_000
    assert others == []
    assert counts["same"] > 0.99 * len(lines), counts


def test_published_files_give_the_ids_in_the_readme_of_the_original(request):
    """The files are not part of this project."""
    folder = request.config.rootpath / "data" / "kobert"
    if not (folder / "vocab.txt").is_file():
        pytest.skip("needs the published KoBERT files in data/kobert/")
    tokenizer = load_kobert_tokenizer(folder / "tokenizer_78b3253a26.model", folder / "vocab.txt")
    assert tokenizer("한국어 모델을 공유합니다.")["input_ids"] == [2, 4958, 6855, 2046, 7088, 1050, 7843, 54, 3]


def test_rejects_damaged_files_and_files_of_two_models(small, tmp_path):
    model = tmp_path / "m.model"
    model.write_bytes(b"not a model")
    (tmp_path / "vocab.txt").write_text("".join(f"{piece}\n" for piece in small.pieces))
    with pytest.raises(ModelError, match=r"m\.model is not a SentencePiece model"):
        load_kobert_tokenizer(model, tmp_path / "vocab.txt")
    train(tmp_path / "other", ["가 나 다 라 마"] * 10, 20)
    (tmp_path / "vocab.txt").write_text("[UNK]\n[PAD]\n[CLS]\n[SEP]\n[MASK]\n")
    with pytest.raises(ModelError, match=r"lacks .* pieces of m\.model, such as"):
        load_kobert_tokenizer(tmp_path / "other" / "m.model", tmp_path / "vocab.txt")


def test_rejects_models_of_another_type(tmp_path):
    (tmp_path / "text").write_text("\n".join(["가 나 다 라 마 가나 다라"] * 10))
    sentencepiece.SentencePieceTrainer.train(
        input=str(tmp_path / "text"), model_prefix=str(tmp_path / "b"), vocab_size=20, model_type="bpe", minloglevel=2,
        hard_vocab_limit=False,
    )  # fmt: skip
    (tmp_path / "vocab.txt").write_text("[UNK]\n")
    with pytest.raises(ModelError, match=r"b\.model is not a Unigram model"):
        load_kobert_tokenizer(tmp_path / "b.model", tmp_path / "vocab.txt")


def test_ids_have_the_dtype_of_features(small):
    from processor.squad_windows import tokenize_contexts

    tokens = tokenize_contexts(["서울에서 태어났다."], small.tokenizer)["서울에서 태어났다."]
    assert tokens.ids.dtype == np.int32
    assert tokens.start[0] == 0
