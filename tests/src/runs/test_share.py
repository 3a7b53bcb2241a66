"""Uploads of checkpoints to a small hub on the loopback address."""

import json
import signal

import pytest
from huggingface_hub import HfApi, constants

from src.common.errors import CheckpointError, ConfigError, EnvironmentFailure, Interrupted
from src.runs.share import check_name, model_files, staged, upload
from tests.hub import READ_TOKEN, TOKEN, serve

# huggingface_hub's own, when it uploads a git-lfs object
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")

MODEL = ["README.md", "config.json", "model.safetensors", "settings.json", "tokenizer.json", "vocab.txt", "vocab_54k.txt"]
OTHERS = [
    ".README.md.partial", "labels.json", "optimizer.safetensors", "predictions.tsv", "reviews.txt", "report.html", "libx.so",
]  # fmt: skip
CARD = "---\nlanguage: ko\n---\n# A model\n"


@pytest.fixture
def checkpoint(tmp_path):
    """A checkpoint with the files of a model, and others."""
    folder = tmp_path / "checkpoint-5"
    (folder / "test").mkdir(parents=True)
    for name in (*MODEL, *OTHERS, "test/predictions-5.tsv"):
        (folder / name).write_text(name)
    (folder / "README.md").write_text(CARD)
    record = {"settings": {"train_file": "/home/me/a.csv", "data_dir": "data"}, "definition": {"labels": {"/a": "/b"}}}
    (folder / "settings.json").write_text(json.dumps(record))
    return folder


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A hub without any repository, which this process uses with the right token."""
    with serve(tmp_path / "hub") as served:
        monkeypatch.setattr(constants, "ENDPOINT", served.url)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield served


def test_only_the_files_of_the_model_are_uploaded(hub, checkpoint):
    assert [path.name for path in model_files(checkpoint)] == MODEL
    with staged(checkpoint) as folder:
        assert upload(folder, "me/my-model", private=False) == f"{hub.url}/me/my-model"
    repository = hub.folder / "me" / "my-model"
    assert sorted(path.name for path in repository.iterdir()) == MODEL
    for name in set(MODEL) - {"settings.json"}:
        assert (repository / name).read_bytes() == (checkpoint / name).read_bytes()
    uploaded = json.loads((repository / "settings.json").read_text())
    assert uploaded == {"settings": {"train_file": "a.csv", "data_dir": "data"}, "definition": {"labels": {"/a": "/b"}}}
    assert len(hub.objects) == 1 and not hub.private


def test_an_upload_replaces_the_files_of_an_earlier_one(hub, checkpoint):
    for text in ("first", "second"):
        (checkpoint / "model.safetensors").write_text(text)
        with staged(checkpoint) as folder:
            upload(folder, "me/my-model", private=False)
    assert (hub.folder / "me" / "my-model" / "model.safetensors").read_text() == "second"


def test_a_private_upload_never_goes_to_a_public_repository(hub, checkpoint):
    with staged(checkpoint) as folder:
        upload(folder, "me/secret", private=True)
        upload(folder, "me/secret", private=True)
        assert hub.private == {"me/secret"}
        (hub.folder / "me" / "open").mkdir()
        with pytest.raises(ConfigError, match="me/open exists and is public"):
            upload(folder, "me/open", private=True)
    assert list((hub.folder / "me" / "open").iterdir()) == []


@pytest.mark.parametrize("token", ["", "hf_wrong", READ_TOKEN])
def test_tokens_that_are_missing_wrong_or_may_not_write(hub, checkpoint, token, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", token)
    with staged(checkpoint) as folder, pytest.raises(ConfigError, match="HF_TOKEN") as error:
        upload(folder, "me/my-model", private=False)
    assert not token or token not in str(error.value)
    assert not (hub.folder / "me").exists()


def test_metadata_that_the_hub_refuses(hub, checkpoint):
    (checkpoint / "README.md").write_text("# Only a title\n")
    with staged(checkpoint) as folder, pytest.raises(ConfigError, match=r"README\.md"):
        upload(folder, "me/my-model", private=False)
    assert list((hub.folder / "me" / "my-model").iterdir()) == []


@pytest.mark.parametrize("offline", [False, True])
def test_a_hub_that_cannot_be_reached(hub, checkpoint, offline, monkeypatch):
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", offline)
    with staged(checkpoint) as folder, pytest.raises(EnvironmentFailure, match="me/my-model: the upload failed"):
        upload(folder, "me/my-model", private=False)


def test_an_interruption_is_none_of_the_network(hub, checkpoint, monkeypatch):
    def interrupt(*_, **__):
        raise RuntimeError("Error while uploading") from Interrupted(signal.SIGTERM)

    monkeypatch.setattr(HfApi, "upload_folder", interrupt)
    with staged(checkpoint) as folder, pytest.raises(Interrupted):
        upload(folder, "me/my-model", private=False)


def test_a_checkpoint_without_a_card(checkpoint):
    (checkpoint / "README.md").unlink()
    with pytest.raises(CheckpointError, match=r"README\.md"), staged(checkpoint):
        pass


@pytest.mark.parametrize("name", ["my-model", "a/b/c", "me/", "me/my model", "me/..", "http://x/y", ""])
def test_names_that_are_none_of_the_hub(name):
    with pytest.raises(ConfigError, match="USER/NAME"):
        check_name(name)


def test_links_survive_a_checkpoint_named_by_a_relative_path(checkpoint, monkeypatch):
    monkeypatch.chdir(checkpoint.parent)
    with staged(checkpoint.relative_to(checkpoint.parent)) as folder:
        assert (folder / "vocab.txt").read_text() == "vocab.txt"
