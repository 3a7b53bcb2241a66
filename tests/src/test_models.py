import json
import shutil

import pytest
import torch
from transformers import (
    AutoTokenizer,
    BertConfig,
    DistilBertConfig,
    ElectraConfig,
    ElectraForPreTraining,
    ElectraModel,
    RobertaConfig,
)

from src.errors import EnvironmentFailure, ModelError
from src.models import (
    load_checkpoint_model,
    load_checkpoint_tokenizer,
    load_tokenizer,
    max_positions,
    new_model,
    uses_segments,
)
from tests.conftest import SAMPLE

LABELS = {"0": "negative", "1": "positive"}


@pytest.fixture
def folder(tmp_path):
    """A copy of the tiny model's folder, which the test may change."""
    return shutil.copytree(SAMPLE / "tiny-electra", tmp_path / "model")


def change(folder, name, **changes):
    path = folder / name
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def classifier(settings, folder=None):
    """Return a new classifier: random weights, or the encoder in `folder`."""
    changes = {} if folder is None else {"model_name_or_path": folder, "from_scratch": False}
    return new_model(settings(**changes), "classification", LABELS)


def save_encoder(folder, change=lambda name, weight: {name: weight}, model_class=ElectraForPreTraining):
    """Write .bin weights for config.json in `folder`; `change` returns what is saved for a weight."""
    weights = model_class(ElectraConfig.from_pretrained(folder)).state_dict()
    torch.save({k: v for name, weight in weights.items() for k, v in change(name, weight).items()}, folder / "pytorch_model.bin")


# -- models ----------------------------------------------------------------------------------------------------------------------


def test_a_new_model_has_the_head_of_its_task(settings):
    model = classifier(settings)
    assert model.config.id2label == {0: "negative", 1: "positive"}
    assert model.config.label2id == {"negative": 0, "positive": 1}
    assert {weight.dtype for weight in model.parameters()} == {torch.float32}


def test_heads_without_labels_define_their_outputs(settings):
    regression = new_model(settings("korsts"), "regression", None)
    assert (regression.config.id2label, regression.config.num_labels) == ({0: "score"}, 1)
    span = new_model(settings("korquad"), "span", None)
    assert span.config.id2label == {0: "start", 1: "end"}
    assert span.qa_outputs.out_features == 2


def test_loads_weights_of_another_precision_as_float32(settings, tmp_path):
    classifier(settings).to(torch.float16).save_pretrained(tmp_path)
    assert {weight.dtype for weight in classifier(settings, tmp_path).parameters()} == {torch.float32}


def test_initializes_and_logs_a_head_of_another_size(settings, tmp_path, caplog):
    classifier(settings).save_pretrained(tmp_path)
    chosen = settings(model_name_or_path=tmp_path, from_scratch=False)
    with caplog.at_level("INFO"):
        three = new_model(chosen, "classification", {"0": "a", "1": "b", "2": "c"})
    assert three.config.num_labels == three.classifier.out_proj.out_features == 3
    assert "new weights, to be learned: classifier.out_proj.bias, classifier.out_proj.weight" in caplog.text
    assert new_model(chosen, "regression", None).classifier.out_proj.out_features == 1


def test_rejects_an_encoder_with_missing_weights(settings, tmp_path):
    classifier(settings).save_pretrained(tmp_path)
    change(tmp_path, "config.json", num_hidden_layers=3)
    with pytest.raises(ModelError, match=r"16 weights of the encoder are missing.*electra\.encoder\.layer\.2"):
        classifier(settings, tmp_path)


def test_rejects_an_encoder_with_unexpected_weights(settings, folder):
    save_encoder(folder)
    assert classifier(settings, folder)
    change(folder, "config.json", num_hidden_layers=1)
    with pytest.raises(ModelError, match=r"16 weights in its files are not part of its encoder.*electra\.encoder\.layer\.1"):
        classifier(settings, folder)


def test_loads_an_encoder_that_was_saved_without_a_head(settings, folder, caplog):
    save_encoder(folder, model_class=ElectraModel)
    with caplog.at_level("INFO"):
        classifier(settings, folder)
    assert "new weights, to be learned: classifier.dense.bias" in caplog.text
    change(folder, "config.json", num_hidden_layers=1)
    with pytest.raises(ModelError, match="not part of its encoder"):
        classifier(settings, folder)


def test_ignores_buffers_that_old_files_contain(settings, folder):
    def with_positions(name, weight):
        extra = {"electra.embeddings.position_ids": torch.arange(512)[None]} if name.endswith("word_embeddings.weight") else {}
        return {name: weight, **extra}

    save_encoder(folder, with_positions)
    assert classifier(settings, folder)


@pytest.mark.parametrize("content", [b"", b"\x08\0\0\0\0\0\0\0{}      ", b"not a safetensors file"])
def test_rejects_damaged_weights(settings, folder, content):
    (folder / "model.safetensors").write_bytes(content)
    with pytest.raises(ModelError):
        classifier(settings, folder)


@pytest.mark.parametrize("layers", [1, 3])
def test_rejects_a_checkpoint_that_does_not_fit_its_config(settings, tmp_path, layers):
    classifier(settings).save_pretrained(tmp_path)
    change(tmp_path, "config.json", num_hidden_layers=layers)
    with pytest.raises(ModelError, match=r"is damaged: 16 weights .*electra\.encoder\.layer\."):
        load_checkpoint_model(tmp_path, "classification", settings())


def test_a_loaded_model_computes_the_bits_of_the_saved_one(settings, tmp_path):
    model = classifier(settings).eval()
    model.save_pretrained(tmp_path)
    inputs = {"input_ids": torch.arange(3, 40)[None]}
    for loaded in (load_checkpoint_model(tmp_path, "classification", settings()), classifier(settings, tmp_path)):
        assert all(weight.data_ptr() % 16 == 0 for weight in loaded.parameters())
        assert torch.equal(loaded.eval()(**inputs).logits, model(**inputs).logits)


# -- folders and configs ---------------------------------------------------------------------------------------------------------


def test_rejects_max_seq_len_beyond_the_positions(settings, folder):
    change(folder, "config.json", max_position_embeddings=300)
    with pytest.raises(ModelError, match=r"max_seq_len = 512 \(command line\).* 300 tokens"):
        load_tokenizer(settings(model_name_or_path=folder, max_seq_len=512))
    assert load_tokenizer(settings(model_name_or_path=folder, max_seq_len=300))


def test_roberta_reserves_two_positions():
    assert max_positions(RobertaConfig(max_position_embeddings=514)) == 512
    assert max_positions(BertConfig(max_position_embeddings=512)) == 512


def test_the_config_decides_whether_a_model_has_segments():
    assert uses_segments(BertConfig())
    assert not uses_segments(RobertaConfig(type_vocab_size=1))
    assert not uses_segments(DistilBertConfig())


def test_a_hub_that_cannot_be_reached_is_a_failure_of_the_environment(settings):
    """The tests run offline."""
    with pytest.raises(EnvironmentFailure, match=r"'org/no-such-model'.* not in the cache"):
        classifier(settings, "org/no-such-model")


@pytest.mark.parametrize("name", ["./no-such-folder", "no/such/folder", "/no/such/folder"])
def test_rejects_folders_that_do_not_exist(settings, name):
    with pytest.raises(ModelError, match="no such folder"):
        load_tokenizer(settings(model_name_or_path=name))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"from_scratch": True}, r"--from_scratch .*config\.json"),
        ({"from_scratch": False, "tokenizer": "hanbert"}, r"HanBert-54kN-torch\.zip"),
    ],
)
def test_names_what_requires_a_folder(settings, changes, expected):
    with pytest.raises(ModelError, match=f"org/model: no such folder.*{expected}"):
        load_tokenizer(settings(model_name_or_path="org/model", **changes))


@pytest.mark.parametrize("content", ["{", "{}", None])
def test_rejects_a_folder_without_a_valid_config(settings, folder, content):
    (folder / "config.json").unlink() if content is None else (folder / "config.json").write_text(content)
    with pytest.raises(ModelError, match=r"config of .* cannot be loaded"):
        load_tokenizer(settings(model_name_or_path=folder))


# -- tokenizers ------------------------------------------------------------------------------------------------------------------


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


def test_the_tokenizer_s_files_define_the_casing_by_default(settings):
    assert load_tokenizer(settings()).tokenize("ABC서울") == load_tokenizer(settings(do_lower_case=False)).tokenize("ABC서울")


def test_rejects_a_tokenizer_with_more_ids_than_embeddings(settings, folder):
    with open(folder / "vocab.txt", "a") as stream:
        stream.write("하나더\n")
    with pytest.raises(ModelError, match=r"3,001 pieces.* 3,000"):
        load_tokenizer(settings(model_name_or_path=folder))


def test_words_get_a_space_before_them_in_byte_level_bpe(settings, tmp_path):
    """Otherwise the ids of a word would depend on its position, and a pipeline would not see the ids of the training."""
    from tokenizers import ByteLevelBPETokenizer
    from transformers import RobertaTokenizer

    bpe = ByteLevelBPETokenizer()
    special_tokens = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    bpe.train_from_iterator(["한국어 모델 한국어 모델"] * 3, vocab_size=300, special_tokens=special_tokens)
    bpe.save_model(str(tmp_path))
    RobertaTokenizer.from_pretrained(tmp_path).save_pretrained(tmp_path)
    RobertaConfig(vocab_size=300, max_position_embeddings=130).save_pretrained(tmp_path)
    chosen = settings(model_name_or_path=tmp_path)
    words, texts = load_tokenizer(chosen, word_level=True), load_tokenizer(chosen)
    expected = texts(" 한국어 모델")["input_ids"]
    assert words(["한국어", "모델"], is_split_into_words=True)["input_ids"] == expected
    assert words("한국어 모델")["input_ids"] == expected
    words.save_pretrained(tmp_path / "checkpoint")
    assert AutoTokenizer.from_pretrained(tmp_path / "checkpoint")("한국어 모델")["input_ids"] == expected


def test_a_checkpoint_keeps_the_casing_it_was_trained_with(settings, tmp_path):
    saved = load_tokenizer(settings(do_lower_case=False))
    saved.save_pretrained(tmp_path)
    shutil.copy(SAMPLE / "tiny-electra" / "config.json", tmp_path)
    loaded = load_checkpoint_tokenizer(tmp_path, settings(do_lower_case=True))
    assert loaded.tokenize("ABC") == saved.tokenize("ABC") != saved.tokenize("abc")


def test_a_checkpoint_has_its_own_tokenizer_and_limits(settings, folder):
    moved = settings(model_name_or_path="/no/such/folder")
    assert len(load_checkpoint_tokenizer(folder, moved)) == 3000
    change(folder, "config.json", max_position_embeddings=100)
    with pytest.raises(ModelError, match="100 tokens"):
        load_checkpoint_tokenizer(folder, moved)
