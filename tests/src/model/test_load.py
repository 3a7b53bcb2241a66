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

from src.common.errors import ModelError
from src.model.files import uses_segments
from src.model.load import load_checkpoint_model, load_checkpoint_tokenizer, load_tokenizer, new_model
from tests.conftest import SAMPLE
from tests.families import change


def save_encoder(folder, change=lambda name, weight: {name: weight}, model_class=ElectraForPreTraining):
    """Write .bin weights for config.json in `folder`; `change` returns what is saved for a weight."""
    weights = model_class(ElectraConfig.from_pretrained(folder)).state_dict()
    torch.save({k: v for name, weight in weights.items() for k, v in change(name, weight).items()}, folder / "pytorch_model.bin")


# -- models ----------------------------------------------------------------------------------------------------------------------


def test_a_new_model_has_the_head_of_its_task(classifier):
    model = classifier()
    assert model.config.id2label == {0: "negative", 1: "positive"}
    assert model.config.label2id == {"negative": 0, "positive": 1}
    assert {weight.dtype for weight in model.parameters()} == {torch.float32}


def test_heads_without_labels_define_their_outputs(settings):
    regression = new_model(settings("korsts"), "regression", None)
    assert (regression.config.id2label, regression.config.num_labels) == ({0: "score"}, 1)
    span = new_model(settings("korquad"), "span", None)
    assert span.config.id2label == {0: "start", 1: "end"}
    assert span.qa_outputs.out_features == 2


def test_loads_weights_of_another_precision_as_float32(classifier, tmp_path):
    classifier().to(torch.float16).save_pretrained(tmp_path)
    assert {weight.dtype for weight in classifier(tmp_path).parameters()} == {torch.float32}


def test_initializes_and_logs_a_head_of_another_size(classifier, settings, tmp_path, caplog):
    classifier().save_pretrained(tmp_path)
    chosen = settings(model_name_or_path=tmp_path, from_scratch=False)
    with caplog.at_level("INFO"):
        three = new_model(chosen, "classification", {"0": "a", "1": "b", "2": "c"})
    assert three.config.num_labels == three.classifier.out_proj.out_features == 3
    assert "new weights, to be learned: classifier.out_proj.bias, classifier.out_proj.weight" in caplog.text
    assert new_model(chosen, "regression", None).classifier.out_proj.out_features == 1


def test_rejects_an_encoder_with_missing_weights(classifier, tmp_path):
    classifier().save_pretrained(tmp_path)
    change(tmp_path, "config.json", num_hidden_layers=3)
    with pytest.raises(ModelError, match=r"16 weights of the encoder are missing.*electra\.encoder\.layer\.2"):
        classifier(tmp_path)


def test_rejects_an_encoder_with_unexpected_weights(classifier, folder):
    save_encoder(folder)
    assert classifier(folder)
    change(folder, "config.json", num_hidden_layers=1)
    with pytest.raises(ModelError, match=r"16 weights in its files are not part of its encoder.*electra\.encoder\.layer\.1"):
        classifier(folder)


def test_loads_an_encoder_that_was_saved_without_a_head(classifier, folder, caplog):
    save_encoder(folder, model_class=ElectraModel)
    with caplog.at_level("INFO"):
        classifier(folder)
    assert "new weights, to be learned: classifier.dense.bias" in caplog.text
    change(folder, "config.json", num_hidden_layers=1)
    with pytest.raises(ModelError, match="not part of its encoder"):
        classifier(folder)


def test_ignores_buffers_that_old_files_contain(classifier, folder):
    def with_positions(name, weight):
        extra = {"electra.embeddings.position_ids": torch.arange(512)[None]} if name.endswith("word_embeddings.weight") else {}
        return {name: weight, **extra}

    save_encoder(folder, with_positions)
    assert classifier(folder)


def test_a_config_that_no_model_can_have_is_an_error(settings, folder):
    change(folder, "config.json", hidden_act="none")
    with pytest.raises(ModelError, match=r"config of .* cannot be loaded"):
        new_model(settings(model_name_or_path=folder), "span", None)


@pytest.mark.parametrize("layers", [1, 3])
def test_rejects_a_checkpoint_that_does_not_fit_its_config(classifier, settings, tmp_path, layers):
    classifier().save_pretrained(tmp_path)
    change(tmp_path, "config.json", num_hidden_layers=layers)
    with pytest.raises(ModelError, match=r"is damaged: 16 weights .*electra\.encoder\.layer\."):
        load_checkpoint_model(tmp_path, "classification", settings())


def test_a_loaded_model_computes_the_bits_of_the_saved_one(classifier, settings, tmp_path):
    model = classifier().eval()
    model.save_pretrained(tmp_path)
    inputs = {"input_ids": torch.arange(3, 40)[None]}
    for loaded in (load_checkpoint_model(tmp_path, "classification", settings()), classifier(tmp_path, keep_head=True)):
        assert all(weight.data_ptr() % 16 == 0 for weight in loaded.parameters())
        assert torch.equal(loaded.eval()(**inputs).logits, model(**inputs).logits)


def test_the_config_decides_whether_a_model_has_segments():
    assert uses_segments(BertConfig())
    assert not uses_segments(RobertaConfig(type_vocab_size=1))
    assert not uses_segments(DistilBertConfig())


# -- tokenizers ------------------------------------------------------------------------------------------------------------------


def test_the_tokenizer_s_files_define_the_casing_by_default(settings):
    assert load_tokenizer(settings()).tokenize("ABC서울") == load_tokenizer(settings(do_lower_case=False)).tokenize("ABC서울")


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
