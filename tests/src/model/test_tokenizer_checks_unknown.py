"""What a tokenizer's Rust model does with what it does not know, and whether it encodes a text always in the same way."""

import json

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from processor.definition import TASKS
from processor.ner import Sentence, encode
from src.common.errors import ModelError
from src.model.load import load_checkpoint_tokenizer, load_tokenizer
from tests.families import write

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "<unk>"]
ENGLISH = [*SPECIAL, *"abcdefghijklmnopqrstuvwxyz", *(f"##{letter}" for letter in "abcdefghijklmnopqrstuvwxyz"), "the", "fox"]
SYLLABLES = [*SPECIAL, *"한국어말"]


def save(folder, model, single="[CLS] $A [SEP]", **names):
    """Write the tokenizer of a Rust model into `folder`, without names of special tokens but those given."""
    backend = Tokenizer(model)
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    backend.post_processor = processors.TemplateProcessing(
        single=single, pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    PreTrainedTokenizerFast(tokenizer_object=backend, **names).save_pretrained(folder)
    write(folder, "config.json", {"model_type": "bert", "vocab_size": 5000})


def numbered(pieces):
    return {piece: number for number, piece in enumerate(pieces)}


def wordpiece(pieces, unknown="[UNK]"):
    return models.WordPiece(numbered(pieces), unk_token=unknown)


@pytest.fixture
def load(settings, tmp_path):
    """load() loads the tokenizer in tmp_path for texts of any language."""
    return lambda **options: load_tokenizer(settings(model_name_or_path=tmp_path), **{"korean": False} | options)


def test_the_unknown_token_is_that_of_the_rust_model(load, tmp_path, settings):
    """If no special token is named, transformers has none. A checkpoint has it, too."""
    save(tmp_path, wordpiece(ENGLISH))
    assert PreTrainedTokenizerFast.from_pretrained(tmp_path).unk_token is None
    tokenizer = load()
    assert tokenizer.unk_token_id == 1 and tokenizer("the 한")["input_ids"] == [2, ENGLISH.index("the"), 1, 3]
    tokenizer.save_pretrained(tmp_path / "checkpoint")
    (tmp_path / "config.json").rename(tmp_path / "checkpoint" / "config.json")
    assert load_checkpoint_tokenizer(tmp_path / "checkpoint", settings(), korean=False).unk_token == "[UNK]"


def test_another_name_for_the_unknown_token_does_not_count(load, tmp_path):
    save(tmp_path, wordpiece(ENGLISH), unk_token="<unk>")
    assert load().unk_token == "[UNK]"
    save(tmp_path, wordpiece(ENGLISH, unknown="<unk>"), unk_token="<unk>")
    assert load().unk_token == "<unk>"


def test_a_word_without_pieces_is_the_unknown_token(load, tmp_path):
    save(tmp_path, wordpiece(ENGLISH))
    content = json.loads((tmp_path / "tokenizer.json").read_text())
    write(
        tmp_path, "tokenizer.json", content | {"normalizer": {"type": "Replace", "pattern": {"String": "\u200b"}, "content": ""}}
    )
    features = encode([Sentence(["the", "\u200b"], ["O", "O"])], TASKS["naver-ner"], load(word_level=True), 16)
    assert features["input_ids"].tolist() == [2, ENGLISH.index("the"), 1, 3]


UNIGRAM = [(piece, 0.0) for piece in SYLLABLES]


@pytest.mark.parametrize(
    ("model", "what"),
    [
        (models.Unigram(UNIGRAM), "fails .*unk_id.* at"),
        (wordpiece(SYLLABLES, unknown="[NONE]"), r"fails .*\[UNK\].* at"),
        (models.WordLevel(numbered(SYLLABLES), unk_token="[NONE]"), r"fails .*\[UNK\].* at"),
        (models.BPE(numbered(SYLLABLES), []), "leaves out"),
    ],
    ids=["unigram", "wordpiece", "wordlevel", "bpe"],
)
def test_rejects_a_model_that_fails_at_what_it_does_not_know(load, tmp_path, model, what):
    """It would fail at the first emoji, perhaps in the middle of predictions."""
    save(tmp_path, model)
    for korean in (True, False):
        with pytest.raises(ModelError, match=rf'tokenizer {what} characters that it does not know.*"unk_id"'):
            load(korean=korean)


def test_accepts_models_that_know_what_they_do_not_know(load, tmp_path):
    alphabet = {f"<0x{byte:02X}>": len(SYLLABLES) + byte for byte in range(256)}
    for model in (
        models.Unigram(UNIGRAM, 1),
        models.BPE(numbered(SYLLABLES), [], unk_token="[UNK]"),
        models.BPE(numbered(SYLLABLES) | alphabet, [], byte_fallback=True),
    ):
        save(tmp_path, model)
        assert len(load(korean=True)("한😀")["input_ids"]) in (4, 7)


def test_dropout_is_switched_off_for_training_and_prediction(load, tmp_path, settings, caplog):
    pieces = [*SYLLABLES, "한국", "국어", "한국어"]
    model = models.BPE(numbered(pieces), [("한", "국"), ("국", "어"), ("한국", "어")], unk_token="[UNK]", dropout=0.5)
    save(tmp_path, model)
    drawn = PreTrainedTokenizerFast.from_pretrained(tmp_path)
    assert len({tuple(drawn("한국어 " * 20)["input_ids"]) for _ in range(5)}) > 1
    with caplog.at_level("INFO"):
        tokenizers = [load(), load_checkpoint_tokenizer(tmp_path, settings())]
    assert caplog.text.count("BPE dropout of its tokenizer (0.5) is switched off") == 2
    for tokenizer in tokenizers:
        assert tokenizer("한국어 " * 20)["input_ids"] == [2, *[pieces.index("한국어")] * 20, 3]
    tokenizers[0].save_pretrained(tmp_path / "copy")
    assert json.loads((tmp_path / "copy" / "tokenizer.json").read_text())["model"]["dropout"] is None


def test_rejects_a_tokenizer_that_draws_lots_in_another_way(load, tmp_path, monkeypatch):
    save(tmp_path, models.BPE(numbered([*SYLLABLES, "한국"]), [("한", "국")], unk_token="[UNK]", dropout=0.5))
    monkeypatch.setattr("src.model.load.switch_off_dropout", lambda tokenizer, name: None)
    write(tmp_path, "config.json", {"model_type": "bert", "vocab_size": 5000})
    monkeypatch.setattr("src.model.tokenizer_checks.HANGUL_PROBE", "한국 " * 50)
    with pytest.raises(ModelError, match="same text differently each time"):
        load()


def test_a_checkpoint_of_such_a_tokenizer_can_still_predict(tmp_path, settings):
    """Version 1.0 has trained with it."""
    save(tmp_path, models.Unigram(UNIGRAM), single="[CLS] $A")
    assert load_checkpoint_tokenizer(tmp_path, settings())("한국어")["input_ids"] == [2, 5, 6, 7]


@pytest.mark.parametrize("single", ["[CLS] $A", "$A [SEP]", "$A"])
def test_a_row_begins_and_ends_with_a_special_token(load, tmp_path, single):
    """It is not enough that something is added."""
    save(tmp_path, wordpiece([*ENGLISH, "한국어"]), single=single)
    with pytest.raises(ModelError, match="no special tokens around a text"):
        load()


def test_a_vocabulary_without_korean_is_good_for_texts_of_other_languages(load, tmp_path):
    save(tmp_path, wordpiece(ENGLISH))
    with pytest.raises(ModelError, match="without Korean"):
        load(korean=True)
    assert load(korean=False)
