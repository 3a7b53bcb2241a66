import json
import shutil

import pytest
from tokenizers import Tokenizer, processors
from transformers import BertTokenizer

from src.common.errors import ModelError
from src.model.load import load_checkpoint_tokenizer, load_tokenizer
from tests.conftest import SAMPLE
from tests.families import FAMILIES, WORDPIECES, change, make_family, write

GENERIC = {
    "tokenizer_class": "PreTrainedTokenizerFast",
    "unk_token": "[UNK]",
    "cls_token": "[CLS]",
    "sep_token": "[SEP]",
    "pad_token": "[PAD]",
}
BERT = {"single": "[CLS] $A [SEP]", "pair": "[CLS] $A [SEP] $B [SEP]"}


@pytest.fixture
def load(settings, tmp_path):
    """load(model_type, "vocab.txt") loads the tokenizer of a folder with config.json and these files, see FILES."""

    def load_from(model_type, *names, **changes):
        folder = tmp_path / "model"
        folder.mkdir(exist_ok=True)
        write(folder, "config.json", {"model_type": model_type, "vocab_size": 5000})
        for name in names:
            write(folder, name, FILES[name])
        return load_tokenizer(settings(model_name_or_path=folder, **changes))

    return load_from


FILES = {
    "vocab.txt": "".join(f"{piece}\n" for piece in WORDPIECES),
    "vocab.json": {"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3},
    "merges.txt": "#version: 0.2\n",
}


def write_tokenizer_json(folder, post_processor=None, added=(), renamed=()):
    """Write a tokenizer.json with the pieces of vocab.txt but those `renamed`, and with `added` tokens; name no class."""
    content = json.loads(BertTokenizer.from_pretrained(SAMPLE / "tiny-electra").backend_tokenizer.to_str())
    content["model"]["vocab"] = {
        f"not {piece}" if piece in renamed else piece: n for piece, n in content["model"]["vocab"].items()
    }
    backend = Tokenizer.from_str(json.dumps(content | {"post_processor": None, "added_tokens": []}))
    if post_processor:
        backend.post_processor = processors.TemplateProcessing(special_tokens=[("[CLS]", 2), ("[SEP]", 3)], **post_processor)
    backend.add_special_tokens(list(added))
    folder.mkdir()
    backend.save(str(folder / "tokenizer.json"))
    write(folder, "tokenizer_config.json", GENERIC)


# -- files -----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model_type", "missing"),
    [
        ("bert", ["vocab.txt"]),
        ("electra", ["vocab.txt"]),
        ("distilbert", ["vocab.txt"]),
        ("mpnet", ["vocab.txt"]),
        ("roberta", ["vocab.json", "merges.txt"]),
        ("longformer", ["vocab.json", "merges.txt"]),
        ("xlm-roberta", ["sentencepiece.bpe.model"]),
        ("camembert", ["sentencepiece.bpe.model"]),
        ("albert", ["spiece.model"]),
        ("big_bird", ["spiece.model"]),
        ("deberta-v2", ["spm.model"]),
        ("rembert", ["sentencepiece.model"]),
        ("modernbert", ["tokenizer.json"]),
        ("nystromformer", ["tokenizer.json"]),
    ],
)
def test_names_the_missing_files_of_a_tokenizer(load, model_type, missing):
    with pytest.raises(ModelError, match=f"tokenizer.json.* has no {' and no '.join(missing)}"):
        load(model_type)


@pytest.mark.parametrize(("found", "missing"), [("vocab.json", "merges.txt"), ("merges.txt", "vocab.json")])
def test_one_of_two_files_is_not_enough(load, found, missing):
    with pytest.raises(ModelError, match=f"has no {missing}"):
        load("roberta", found)


def test_a_checkpoint_needs_its_tokenizer_too(settings, folder):
    (folder / "vocab.txt").unlink()
    with pytest.raises(ModelError, match=f"{folder} has no vocab.txt"):
        load_checkpoint_tokenizer(folder, settings())


@pytest.mark.parametrize("model_type", ["albert", "roberta", "deberta-v2"])
def test_the_advice_for_a_vocab_txt_that_is_not_read_helps(load, tmp_path, model_type):
    with pytest.raises(ModelError, match=r"write {.*} into tokenizer_config\.json") as caught:
        load(model_type, "vocab.txt")
    advice = str(caught.value)
    write(tmp_path / "model", "tokenizer_config.json", advice[advice.index("{") : advice.index("}") + 1])
    assert load(model_type).tokenize("한국어") == ["한", "##국", "##어"]


def test_the_advice_to_make_a_tokenizer_json_helps(load):
    import transformers

    with pytest.raises(ModelError, match="in Python: ") as caught:
        load("modernbert", "vocab.txt")
    eval(str(caught.value).split("in Python: ")[1], {"transformers": transformers})
    assert load("modernbert").tokenize("한국어") == ["한", "##국", "##어"]


@pytest.mark.parametrize("family", [family for family in FAMILIES if family != "hanbert"])
def test_accepts_the_tokenizers_of_every_family_and_their_copies(settings, tmp_path, family):
    given = make_family(family, tmp_path / "model")
    tokenizer = load_tokenizer(settings(**given))
    copy = tmp_path / "copy"
    tokenizer.save_pretrained(copy)
    shutil.copy(tmp_path / "model" / "config.json", copy)
    assert load_checkpoint_tokenizer(copy, settings(**given)).get_vocab() == tokenizer.get_vocab()


# -- Hangul ----------------------------------------------------------------------------------------------------------------------


def test_rejects_a_tokenizer_that_loses_hangul(settings, folder):
    change(folder, "tokenizer_config.json", do_lower_case=True)
    with pytest.raises(ModelError, match="--do_lower_case false"):
        load_tokenizer(settings(model_name_or_path=folder))
    assert load_tokenizer(settings(model_name_or_path=folder, do_lower_case=False)).tokenize("서울에서")


def test_rejects_a_tokenizer_that_splits_syllables_into_letters(settings, folder):
    letters = ["##" + chr(code) for code in range(0x1100, 0x1200)] + [chr(code) for code in range(0x1100, 0x1200)]
    (folder / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, "한국어"]))
    change(folder, "tokenizer_config.json", do_lower_case=True)
    with pytest.raises(ModelError, match="--do_lower_case false"):
        load_tokenizer(settings(model_name_or_path=folder))
    assert load_tokenizer(settings(model_name_or_path=folder, do_lower_case=False)).tokenize("한국어") == ["한국어"]


def test_a_vocabulary_without_korean_has_nothing_to_do_with_casing(settings, folder):
    (folder / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "##s"]))
    with pytest.raises(ModelError, match="Korean") as caught:
        load_tokenizer(settings(model_name_or_path=folder))
    assert "lower" not in str(caught.value)


def test_an_unknown_piece_of_a_unigram_model_is_not_hangul(settings, tmp_path):
    """It is printed as the text it stands for."""
    folder = tmp_path / "model"
    given = make_family("xlm-roberta", folder)
    content = json.loads((folder / "tokenizer.json").read_text())
    content["model"]["vocab"] = [[piece, score] for piece, score in content["model"]["vocab"] if piece not in "한국어"]
    write(folder, "tokenizer.json", content)
    assert "".join(Tokenizer.from_file(str(folder / "tokenizer.json")).encode("한국어").tokens) == "<s>▁한국어</s>"
    with pytest.raises(ModelError, match="without Korean"):
        load_tokenizer(settings(**given))


@pytest.fixture
def albert(tmp_path):
    """A folder with config.json and spiece.model of an ALBERT."""
    import sentencepiece

    folder = tmp_path / "albert"
    folder.mkdir()
    write(folder, "config.json", {"model_type": "albert", "vocab_size": 5000})
    write(tmp_path, "text", "\n".join(piece.removeprefix("##") for piece in WORDPIECES[5:]))
    sentencepiece.SentencePieceTrainer.train(
        input=str(tmp_path / "text"), model_prefix=str(folder / "spiece"), vocab_size=1200, character_coverage=1.0,
        hard_vocab_limit=False, pad_id=0, unk_id=1, bos_id=-1, eos_id=-1, control_symbols=["[CLS]", "[SEP]"], minloglevel=2,
    )  # fmt: skip
    return folder


def test_albert_decomposes_hangul_unless_it_keeps_accents(settings, albert):
    with pytest.raises(ModelError, match='"keep_accents": true'):
        load_tokenizer(settings(model_name_or_path=albert))
    change(albert, "tokenizer_config.json", keep_accents=True)
    assert load_tokenizer(settings(model_name_or_path=albert))("한국어")["input_ids"][0] == 2


def test_some_names_of_a_vocabulary_are_good_for_every_class(settings, albert):
    change(albert, "tokenizer_config.json", keep_accents=True)
    (albert / "spiece.model").rename(albert / "tokenizer.model")
    assert load_tokenizer(settings(model_name_or_path=albert))("한국어")["input_ids"][0] == 2
    (albert / "tokenizer.model").rename(albert / "other.model")
    with pytest.raises(ModelError, match=r"has no spiece\.model"):
        load_tokenizer(settings(model_name_or_path=albert))


def test_names_a_sentencepiece_model_that_is_cut_off(settings, albert):
    path = albert / "spiece.model"
    path.write_bytes(path.read_bytes()[:10_000])
    with pytest.raises(ModelError, match=f"{path} is damaged"):
        load_tokenizer(settings(model_name_or_path=albert))


# -- special tokens and ids ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model_type", ["bert", "electra"])
def test_names_special_tokens_that_are_not_in_the_vocabulary(load, tmp_path, model_type):
    text = FILES["vocab.txt"].replace("[CLS]", "<s>").replace("[UNK]", "<unk>")
    folder = tmp_path / "model"
    folder.mkdir()
    write(folder, "vocab.txt", text)
    write(folder, "tokenizer_config.json", {"tokenizer_class": "BertTokenizer", "do_lower_case": False})
    with pytest.raises(ModelError, match=r"lacks the special tokens \[CLS\], \[UNK\];"):
        load(model_type)
    change(folder, "tokenizer_config.json", cls_token="<s>", unk_token="<unk>")  # what the message advises
    assert load(model_type)("한국어")["input_ids"] == [2, *load(model_type)("한국어", add_special_tokens=False)["input_ids"], 3]


def test_special_tokens_may_be_recorded_as_added_tokens(load, tmp_path):
    write_tokenizer_json(tmp_path / "model", BERT, renamed=["[PAD]"], added=["[PAD]"])
    assert load("modernbert").pad_token_id == 3000


def test_special_tokens_that_only_have_a_name_are_missing(load, tmp_path):
    write_tokenizer_json(tmp_path / "model", BERT, renamed=["[PAD]"])
    with pytest.raises(ModelError, match=r"lacks the special tokens \[PAD\];"):
        load("modernbert")


def test_a_backend_without_its_unknown_piece_is_an_error(load, tmp_path):
    write_tokenizer_json(tmp_path / "model", BERT, renamed=["[UNK]", "한", "국", "어", "##국", "##어"])
    change(tmp_path / "model", "tokenizer_config.json", unk_token="not [UNK]")
    with pytest.raises(ModelError, match=r"fails .*\[UNK\].*unk_token"):
        load("modernbert")


def test_byte_level_pieces_need_no_unknown_piece(settings, tmp_path):
    given = make_family("roberta", tmp_path / "model")
    vocabulary = json.loads((tmp_path / "model" / "vocab.json").read_text())
    vocabulary["unused"] = vocabulary.pop("<unk>")
    write(tmp_path / "model", "vocab.json", vocabulary)
    change(tmp_path / "model", "config.json", vocab_size=300)
    assert load_tokenizer(settings(**given)).tokenize("한국어")


@pytest.mark.parametrize(
    ("post_processor", "where"),
    [
        (None, "between two texts"),
        ({"single": "[CLS] $A [SEP]", "pair": "[CLS] $A $B [SEP]"}, "between two texts"),
        ({"single": "$A", "pair": "[CLS] $A [SEP] $B [SEP]"}, "around a text"),
    ],
)
def test_rejects_a_tokenizer_that_marks_no_ends_of_texts(load, tmp_path, post_processor, where):
    write_tokenizer_json(tmp_path / "model", post_processor)
    with pytest.raises(ModelError, match=f"no special tokens {where}.*TemplateProcessing"):
        load("bert")


def test_rejects_a_tokenizer_with_more_ids_than_embeddings(settings, folder):
    with open(folder / "vocab.txt", "a") as stream:
        stream.write("하나더\n")
    with pytest.raises(ModelError, match=r"up to 3,000.* 3,000 embeddings"):
        load_tokenizer(settings(model_name_or_path=folder))


def test_the_highest_id_counts_if_a_vocabulary_has_pieces_twice(settings, folder):
    write(folder, "vocab.txt", FILES["vocab.txt"] + f"{WORDPIECES[20]}\n{WORDPIECES[21]}\n하나더\n")
    with pytest.raises(ModelError, match=r"up to 3,002.* 3,000 embeddings"):
        load_tokenizer(settings(model_name_or_path=folder))
    change(folder, "config.json", vocab_size=3003)
    assert load_tokenizer(settings(model_name_or_path=folder)).convert_tokens_to_ids("하나더") == 3002
