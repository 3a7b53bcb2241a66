import json
import shutil

import pytest
import torch

from src.errors import EnvironmentFailure, ModelError
from src.models import load_config, load_model, load_tokenizer, max_positions, uses_segments
from tests.conftest import SAMPLE

NAMES = {"0": "negative", "1": "positive"}


@pytest.fixture
def folder(tmp_path):
    """The tiny model's folder, to be changed by the test."""
    return shutil.copytree(SAMPLE / "tiny-electra", tmp_path / "model")


def change(folder, name, **changes):
    path = folder / name
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_a_head_without_labels_has_outputs_of_its_own(settings):
    assert load_model(settings("korsts"), "regression", None).config.id2label == {0: "score"}
    reader = load_model(settings("korquad"), "span", None)
    assert reader.config.id2label == {0: "start", 1: "end"}
    assert reader.qa_outputs.out_features == 2


def test_a_model_from_scratch_has_the_task_s_head(settings):
    model = load_model(settings(), "classification", NAMES)
    assert model.config.id2label == {0: "negative", 1: "positive"}
    assert model.config.label2id == {"negative": 0, "positive": 1}
    assert {weight.dtype for weight in model.parameters()} == {torch.float32}
    assert load_model(settings(), "regression", None).config.num_labels == 1


def test_weights_of_another_precision_load_as_float32(settings, tmp_path):
    model = load_model(settings(), "classification", NAMES).to(torch.float16)
    model.save_pretrained(tmp_path / "half")
    shutil.copy(SAMPLE / "tiny-electra" / "vocab.txt", tmp_path / "half")
    loaded = load_model(settings(model_name_or_path=tmp_path / "half", from_scratch=False), "classification", NAMES)
    assert {weight.dtype for weight in loaded.parameters()} == {torch.float32}


def test_a_head_of_another_size_is_drawn_anew_and_named(settings, tmp_path, caplog):
    load_model(settings(), "classification", NAMES).save_pretrained(tmp_path / "two")
    chosen = settings(model_name_or_path=tmp_path / "two", from_scratch=False)
    with caplog.at_level("INFO"):
        three = load_model(chosen, "classification", {"0": "a", "1": "b", "2": "c"})
    assert three.config.num_labels == three.classifier.out_proj.out_features == 3
    assert "new weights, to be learned: classifier.out_proj.bias, classifier.out_proj.weight" in caplog.text
    assert load_model(chosen, "regression", None).classifier.out_proj.out_features == 1


def test_an_encoder_without_its_weights_is_an_error(settings, folder, tmp_path):
    load_model(settings(), "classification", NAMES).save_pretrained(tmp_path / "small")
    change(tmp_path / "small", "config.json", num_hidden_layers=3)
    with pytest.raises(ModelError, match="lack 16 weights of the encoder"):
        load_model(settings(model_name_or_path=tmp_path / "small", from_scratch=False), "classification", NAMES)


def test_max_seq_len_beyond_the_model_names_the_limit(settings, folder):
    change(folder, "config.json", max_position_embeddings=300)
    with pytest.raises(ModelError, match=r"max_seq_len = 512 \(command line\).* takes at most 300 tokens"):
        load_config(settings(model_name_or_path=folder, max_seq_len=512))
    assert load_config(settings(model_name_or_path=folder, max_seq_len=300)).max_position_embeddings == 300


def test_roberta_reserves_two_positions():
    from transformers import BertConfig, RobertaConfig

    assert max_positions(RobertaConfig(max_position_embeddings=514)) == 512
    assert max_positions(BertConfig(max_position_embeddings=512)) == 512


def test_segments_follow_the_config():
    from transformers import BertConfig, DistilBertConfig, RobertaConfig

    assert uses_segments(BertConfig())
    assert not uses_segments(RobertaConfig(type_vocab_size=1))
    assert not uses_segments(DistilBertConfig())


def test_a_tokenizer_that_loses_hangul_is_an_error(settings, folder):
    change(folder, "tokenizer_config.json", do_lower_case=True)
    with pytest.raises(ModelError, match="try --do_lower_case false"):
        load_tokenizer(settings(model_name_or_path=folder))
    assert load_tokenizer(settings(model_name_or_path=folder, do_lower_case=False)).tokenize("서울에서")


def test_the_tokenizer_s_own_files_decide_by_default(settings):
    assert load_tokenizer(settings()).tokenize("ABC서울") == load_tokenizer(settings(do_lower_case=False)).tokenize("ABC서울")


def test_a_tokenizer_larger_than_the_model_is_an_error(settings, folder):
    with open(folder / "vocab.txt", "a") as stream:
        stream.write("하나더\n")
    with pytest.raises(ModelError, match=r"tokenizer has 3,001 pieces, but its config\.json embeddings for 3,000"):
        load_tokenizer(settings(model_name_or_path=folder))


def test_words_get_a_space_before_them_in_byte_level_bpe(settings, tmp_path):
    """Else a word inside a sentence and the same word alone are other tokens; and a pipeline must do as training did."""
    from tokenizers import ByteLevelBPETokenizer
    from transformers import RobertaConfig, RobertaTokenizer

    bpe = ByteLevelBPETokenizer()
    bpe.train_from_iterator(
        ["한국어 모델 한국어 모델"] * 3, vocab_size=300, special_tokens=["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    )
    bpe.save_model(str(tmp_path))
    RobertaTokenizer.from_pretrained(tmp_path).save_pretrained(tmp_path)
    RobertaConfig(vocab_size=300, max_position_embeddings=130).save_pretrained(tmp_path)
    chosen = settings(model_name_or_path=tmp_path)
    words = load_tokenizer(chosen, word_level=True)
    assert words(["한국어", "모델"], is_split_into_words=True)["input_ids"] == load_tokenizer(chosen)(" 한국어 모델")["input_ids"]
    words.save_pretrained(tmp_path / "checkpoint")
    from transformers import AutoTokenizer

    assert AutoTokenizer.from_pretrained(tmp_path / "checkpoint")("한국어 모델")["input_ids"] == words("한국어 모델")["input_ids"]
    assert words("한국어 모델")["input_ids"] == load_tokenizer(chosen)(" 한국어 모델")["input_ids"]


def test_a_checkpoint_keeps_the_casing_it_was_trained_with(settings, tmp_path):
    upper = load_tokenizer(settings(do_lower_case=False))
    upper.save_pretrained(tmp_path)
    shutil.copy(SAMPLE / "tiny-electra" / "config.json", tmp_path)
    assert (
        load_tokenizer(settings(do_lower_case=True), tmp_path).tokenize("ABC") == upper.tokenize("ABC") != upper.tokenize("abc")
    )


def test_a_checkpoint_brings_its_own_tokenizer_and_limits(settings, folder):
    gone = settings(model_name_or_path="/no/such/folder")
    assert len(load_tokenizer(gone, folder)) == 3000
    change(folder, "config.json", max_position_embeddings=100)
    with pytest.raises(ModelError, match="takes at most 100"):
        load_tokenizer(gone, folder)


def test_a_hub_that_cannot_be_reached_is_the_machine_s_fault(settings):
    """The tests run offline. Any other failure to load is the user's."""
    with pytest.raises(EnvironmentFailure, match="'org/no-such-model' cannot be fetched from the hub and is not in its cache"):
        load_config(settings(model_name_or_path="org/no-such-model", from_scratch=False))


@pytest.mark.parametrize("name", ["./no-such-folder", "no/such/folder", "/no/such/folder"])
def test_a_folder_that_is_not_there(settings, name):
    with pytest.raises(ModelError, match="no such folder"):
        load_config(settings(model_name_or_path=name))


@pytest.mark.parametrize(("file", "content"), [("config.json", "{"), ("config.json", "{}"), ("config.json", None)])
def test_a_folder_without_a_usable_config(settings, folder, file, content):
    (folder / file).unlink() if content is None else (folder / file).write_text(content)
    with pytest.raises(ModelError, match=r"config of .* cannot be loaded"):
        load_config(settings(model_name_or_path=folder))


@pytest.mark.parametrize("content", [b"", b"\x08\0\0\0\0\0\0\0{}      ", b"not a safetensors file"])
def test_damaged_weights(settings, folder, content):
    (folder / "model.safetensors").write_bytes(content)
    with pytest.raises(ModelError):
        load_model(settings(model_name_or_path=folder, from_scratch=False), "classification", NAMES)


def save_weights(folder, change=lambda name, weight: {name: weight}, base=False):
    """Weights of the tiny model's shape with the head of pre-training, or the encoder alone; `change` says what is written."""
    from transformers import ElectraConfig, ElectraForPreTraining, ElectraModel

    config = ElectraConfig.from_pretrained(folder)
    weights = (ElectraModel if base else ElectraForPreTraining)(config).state_dict()
    torch.save({k: v for name, weight in weights.items() for k, v in change(name, weight).items()}, folder / "pytorch_model.bin")


def load_from(settings, folder):
    return load_model(settings(model_name_or_path=folder, from_scratch=False), "classification", NAMES)


def test_weights_of_the_encoder_that_nobody_expects_are_an_error(settings, folder):
    save_weights(folder)
    assert load_from(settings, folder)
    change(folder, "config.json", num_hidden_layers=1)
    with pytest.raises(ModelError, match=r"hold 16 weights that its encoder lacks: electra\.encoder\.layer\.1"):
        load_from(settings, folder)


def test_weights_of_the_encoder_alone(settings, folder, caplog):
    save_weights(folder, base=True)
    with caplog.at_level("INFO"):
        load_from(settings, folder)
    assert "new weights, to be learned: classifier.dense.bias" in caplog.text
    change(folder, "config.json", num_hidden_layers=1)
    with pytest.raises(ModelError, match="weights that its encoder lacks"):
        load_from(settings, folder)


def test_buffers_that_old_files_hold_do_no_harm(settings, folder):
    def with_positions(name, weight):
        extra = {"electra.embeddings.position_ids": torch.arange(512)[None]} if name.endswith("word_embeddings.weight") else {}
        return {name: weight, **extra}

    save_weights(folder, with_positions)
    assert load_from(settings, folder)


def test_a_tokenizer_that_takes_syllables_apart_is_an_error(settings, folder):
    letters = ["##" + chr(code) for code in range(0x1100, 0x1200)] + [chr(code) for code in range(0x1100, 0x1200)]
    (folder / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, "한국어"]))
    change(folder, "tokenizer_config.json", do_lower_case=True)
    with pytest.raises(ModelError, match="try --do_lower_case false"):
        load_tokenizer(settings(model_name_or_path=folder))
    assert load_tokenizer(settings(model_name_or_path=folder, do_lower_case=False)).tokenize("한국어") == ["한국어"]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"from_scratch": True}, "--from_scratch needs one with config.json"),
        ({"from_scratch": False, "tokenizer": "hanbert"}, r"HanBERT is not on the hub: unpack HanBert-54kN-torch\.zip"),
    ],
)
def test_what_needs_a_folder_says_so(settings, changes, expected):
    with pytest.raises(ModelError, match=expected):
        load_config(settings(model_name_or_path="org/model", **changes))


def test_a_loaded_model_gives_the_bits_of_the_saved_one(settings, tmp_path):
    model = load_model(settings(), "classification", NAMES).eval()
    model.save_pretrained(tmp_path)
    loaded = load_model(settings(), "classification", NAMES, tmp_path).eval()
    fine_tuned = load_model(settings(from_scratch=False, model_name_or_path=tmp_path), "classification", NAMES).eval()
    inputs = {"input_ids": torch.arange(3, 40)[None]}
    for other in (loaded, fine_tuned):
        assert all(weight.data_ptr() % 16 == 0 for weight in other.parameters())
        assert torch.equal(other(**inputs).logits, model(**inputs).logits)
