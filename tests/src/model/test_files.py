import pickle
from types import SimpleNamespace

import pytest
import torch

from src.common.errors import EnvironmentFailure, ModelError
from src.model.files import max_positions
from src.model.load import load_tokenizer, new_model
from src.model.unpadding.layout import Layout, using_layout
from src.model.unpadding.unpad import unpad_encoder
from tests.families import change, make_family, write, write_pointer

PAGE = "<!DOCTYPE html><html>Not found</html>"
UNLIKE_A_LIBRARY = r"^(?!.*weights_only).{20,700}$"  # short, and without torch's advice to load unsafely


@pytest.fixture
def saved(classifier, folder):
    """A folder with a tokenizer and weights as safetensors."""
    classifier().save_pretrained(folder)
    return folder


@pytest.fixture
def pickled(saved):
    """A folder with a tokenizer and weights as pytorch_model.bin."""
    from safetensors.torch import load_file

    torch.save(load_file(saved / "model.safetensors"), saved / "pytorch_model.bin")
    (saved / "model.safetensors").unlink()
    return saved


# -- folders and configs ---------------------------------------------------------------------------------------------------------


def test_rejects_max_seq_len_beyond_the_positions(settings, folder):
    change(folder, "config.json", max_position_embeddings=300)
    with pytest.raises(ModelError, match=r"max_seq_len = 512 \(command line\).* 300 tokens"):
        load_tokenizer(settings(model_name_or_path=folder, max_seq_len=512))
    assert load_tokenizer(settings(model_name_or_path=folder, max_seq_len=300))


@pytest.mark.parametrize(("positions", "limit"), [(300, 300), (0, None), (-1, None), (None, None)])
def test_a_config_may_have_no_limit(positions, limit):
    assert max_positions(SimpleNamespace(max_position_embeddings=positions)) == limit


def test_outputs_that_a_config_asks_for_are_not_computed(settings, folder):
    """KoMiniLM's config.json has the first and the last. The attention without padding cannot return its weights."""
    change(folder, "config.json", output_attentions=True, output_hidden_states=True, return_dict=False)
    model = new_model(settings(model_name_or_path=folder, from_scratch=True), "classification", {"0": "no", "1": "yes"})
    unpad_encoder(model, first_token=True)
    ids = torch.tensor([[2, 5, 3]])
    with using_layout(Layout.of(torch.ones_like(ids), torch.arange(3))):
        assert list(model(input_ids=ids)) == ["logits"]


def test_a_hub_that_cannot_be_reached_is_a_failure_of_the_environment(classifier):
    """The tests run offline."""
    with pytest.raises(EnvironmentFailure, match=r"'org/no-such-model'.* not in the cache"):
        classifier("org/no-such-model")


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


@pytest.mark.parametrize("model_type", ["bart", "t5", "encoder-decoder"])
def test_rejects_encoder_decoder_models_whatever_else_is_there(settings, tmp_path, model_type):
    parts = {"encoder": {"model_type": "bert"}, "decoder": {"model_type": "bert"}} if model_type == "encoder-decoder" else {}
    write(tmp_path, "config.json", {"model_type": model_type, **parts})
    with pytest.raises(ModelError, match=rf"encoder-decoder model \({model_type}\).*BERT, ELECTRA"):
        load_tokenizer(settings(model_name_or_path=tmp_path))


@pytest.mark.parametrize("from_scratch", [True, False])
def test_names_supported_models_if_transformers_has_none_of_this_kind(settings, tmp_path, from_scratch):
    write(tmp_path, "config.json", {"model_type": "vit"})
    with pytest.raises(ModelError, match=r"^.{20,400}$") as caught:
        new_model(settings(model_name_or_path=tmp_path, from_scratch=from_scratch), "classification", {"0": "0"})
    assert "BERT, ELECTRA" in str(caught.value)


@pytest.mark.parametrize("with_config", [True, False])
def test_an_adapter_is_not_a_model(settings, folder, with_config):
    write(folder, "adapter_config.json", {"peft_type": "LORA", "base_model_name_or_path": "klue/bert-base"})
    write_pointer(folder / "adapter_model.safetensors")
    if not with_config:
        (folder / "config.json").unlink()
    with pytest.raises(ModelError, match="merge_and_unload"):
        load_tokenizer(settings(model_name_or_path=folder, from_scratch=False))
    if with_config:  # its config and tokenizer can be used without weights
        assert load_tokenizer(settings(model_name_or_path=folder))


def test_a_model_may_have_an_adapter_beside_it(classifier, saved):
    write(saved, "adapter_config.json", {})
    assert classifier(saved)


# -- files that are not what they should be --------------------------------------------------------------------------------------


def test_names_weights_that_are_pointers(classifier, saved):
    write_pointer(saved / "model.safetensors")
    with pytest.raises(ModelError, match=rf"{saved}/model\.safetensors .*git lfs pull"):
        classifier(saved)


def test_names_pickled_weights_that_are_pointers(classifier, pickled):
    write_pointer(pickled / "pytorch_model.bin")
    with pytest.raises(ModelError, match=rf"{pickled}/pytorch_model\.bin .*git lfs pull"):
        classifier(pickled)


def test_names_the_part_of_sharded_weights_that_is_a_pointer(classifier, folder):
    classifier().save_pretrained(folder, max_shard_size="50KB")
    shard = sorted(folder.glob("model-*.safetensors"))[1]
    assert classifier(folder)
    write_pointer(shard)
    with pytest.raises(ModelError, match=f"{shard} .*git lfs pull"):
        classifier(folder)


def test_pointers_that_are_not_read_do_no_harm(classifier, settings, saved):
    """Who needs safetensors and tokenizer.json alone can leave the rest of a repository on the server."""
    load_tokenizer(settings()).save_pretrained(saved)
    for name in ("pytorch_model.bin", "vocab.txt", "spiece.model", "tf_model.h5"):
        write_pointer(saved / name)
    assert classifier(saved)
    assert load_tokenizer(settings(model_name_or_path=saved)).tokenize("한국어")


@pytest.mark.parametrize("write_stand_in", [write_pointer, lambda path: path.write_text(PAGE)], ids=["pointer", "page"])
@pytest.mark.parametrize(
    ("family", "name"),
    [
        ("bert", "vocab.txt"),
        ("bert", "config.json"),
        ("roberta", "vocab.json"),
        ("roberta", "merges.txt"),
        ("deberta-v2", "tokenizer.json"),
        ("deberta-v2", "tokenizer_config.json"),
        ("kobert", "tokenizer_78b3253a26.model"),
        ("kobert", "vocab.txt"),
    ],
)
def test_names_files_of_tokenizers_that_are_something_else(settings, tmp_path, family, name, write_stand_in):
    given = make_family(family, tmp_path / family)
    write_stand_in(tmp_path / family / name)
    with pytest.raises(ModelError, match=f"{tmp_path}/{family}/{name} is a .*[dD]ownload it again"):
        load_tokenizer(settings(**given))


@pytest.mark.parametrize("name", ["vocab_54k.txt", "libmoran4dnlp.so"])
def test_names_files_of_hanbert_that_are_pointers(settings, folder, name):
    for file in ("vocab_54k.txt", "libmoran4dnlp.so"):
        (folder / file).write_text("")
    write_pointer(folder / name)
    with pytest.raises(ModelError, match=f"{folder}/{name} .*git lfs pull"):
        load_tokenizer(settings(model_name_or_path=folder, tokenizer="hanbert", trust_native_code=True))


def test_names_files_of_kobert_that_are_damaged(settings, tmp_path):
    given = make_family("kobert", tmp_path / "model")
    (tmp_path / "model" / "vocab.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(ModelError, match=r"the tokenizer of .* cannot be loaded: 'utf-8'"):
        load_tokenizer(settings(**given))


@pytest.mark.parametrize("content", [b"", b"\x08\0\0\0\0\0\0\0{}      ", b"not a safetensors file"])
def test_rejects_damaged_weights(classifier, folder, content):
    (folder / "model.safetensors").write_bytes(content)
    with pytest.raises(ModelError):
        classifier(folder)


@pytest.mark.parametrize("share", [0, 0.01, 0.5, 0.99])
def test_names_weights_that_are_cut_off(classifier, saved, share):
    path = saved / "model.safetensors"
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(ModelError, match=rf"{path} is damaged.*Download it again"):
        classifier(saved)


@pytest.mark.parametrize("share", [0, 0.01, 0.5, 0.99])
@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "as before PyTorch 1.6"])
def test_names_pickled_weights_that_are_cut_off(classifier, pickled, share, zipped):
    path = pickled / "pytorch_model.bin"
    torch.save(torch.load(path), path, _use_new_zipfile_serialization=zipped)
    assert classifier(pickled)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(ModelError, match=UNLIKE_A_LIBRARY) as caught:
        classifier(pickled)
    assert f"{path} is damaged" in str(caught.value)


def test_never_advises_to_load_other_objects_than_weights(classifier, pickled):
    path = pickled / "pytorch_model.bin"
    for content in (pickle.dumps(print, protocol=2), b"text"):
        path.write_bytes(content)
        with pytest.raises(ModelError, match=UNLIKE_A_LIBRARY) as caught:
            classifier(pickled)
        assert str(path) in str(caught.value)


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json"])
def test_names_json_that_is_cut_off(settings, tmp_path, name):
    given = make_family("deberta-v2", tmp_path / "model")
    path = tmp_path / "model" / name
    path.write_text(path.read_text()[:60])
    with pytest.raises(ModelError, match=f"{path} is damaged"):
        load_tokenizer(settings(**given))
