"""Models from a small hub on the loopback address."""

import json
import shutil
import socket
import time
from pathlib import Path

import pytest
import torch
from transformers import ElectraConfig, ElectraForPreTraining

from src.common.errors import EnvironmentFailure, ModelError
from src.model.hub import fetch_model
from src.model.load import load_tokenizer, new_model
from tests.commands import run_command, run_forked
from tests.conftest import SAMPLE
from tests.hub import COMMIT, read_environment_again, serve

UNREACHABLE = "http://127.0.0.1:9"
LABELS = {"0": "negative", "1": "positive"}


def publish(folder):
    """Write a repository like those of KoELECTRA: .bin weights with the pre-training head, an old config, no tokenizer.json."""
    folder.mkdir(parents=True)
    config = json.loads((SAMPLE / "tiny-electra" / "config.json").read_text()) | {"architectures": ["ElectraForPreTraining"]}
    torch.manual_seed(1)
    weights = ElectraForPreTraining(ElectraConfig(**config)).state_dict()
    torch.save(weights, folder / "pytorch_model.bin")
    (folder / "config.json").write_text(json.dumps(config))
    shutil.copy(SAMPLE / "tiny-electra" / "vocab.txt", folder)
    # The typo of koelectra-small-v2.
    (folder / "tokenizer_config.json").write_text('{"do_lower_case": false, "max_model_length": 512}')
    return weights


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """The folder of a hub with the repository org/model."""
    folder = tmp_path_factory.mktemp("hub")
    publish(folder / "org" / "model")
    return folder


@pytest.fixture
def hub(published, tmp_path):
    """A hub with the repository org/model."""
    with serve(Path(shutil.copytree(published, tmp_path / "hub"))) as served:
        yield served


@pytest.fixture
def connect(tmp_path, monkeypatch):
    """connect(url) lets this process use the hub at `url`, with an empty cache at first."""
    from huggingface_hub import constants

    def change(url, offline=False):  # huggingface_hub reads the environment once, when it is imported
        monkeypatch.setattr(constants, "ENDPOINT", url)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", url + "/{repo_id}/resolve/{revision}/{filename}")
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "home" / "hub"))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", offline)
        fetch_model.cache_clear()

    yield change
    fetch_model.cache_clear()


@pytest.fixture
def run(tmp_path):
    """run(url, "owner/name") fine-tunes for one step with the hub at `url` and returns the finished process.

    new_python: start a new Python, in which huggingface_hub reads the environment when the command imports it.
    """

    def start(url, repository, *arguments, new_python=False, **env):
        model = ["--config_file", "auto.json", "--model_name_or_path", repository, "--output_dir", "run", "--max_steps", "1"]
        folders = ["--ckpt_dir", str(tmp_path / "ckpt"), "--feature_cache_dir", str(tmp_path / "cache")]
        environment = {"HF_ENDPOINT": url, "HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "0", **env}
        arguments = ["--task", "nsmc", "--data_dir", "data/sample", *model, *folders, *arguments]
        if new_python:
            return run_command("run_seq_cls.py", *arguments, env=environment)
        return run_forked("run_seq_cls.py", *arguments, env=environment, before=read_environment_again)

    return start


def load_from_hub(settings, **changes):
    chosen = settings(model_name_or_path="org/model", from_scratch=False, **changes)
    return load_tokenizer(chosen), new_model(chosen, "classification", LABELS)


def downloads(hub):
    """Return the names of the downloaded files."""
    return {path.rsplit("/", 1)[1] for path in hub.requests if path.startswith("GET") and "/resolve/" in path}


def test_a_run_downloads_the_model_and_records_its_commit(hub, run, tmp_path):
    done = run(hub.url, "org/model")
    assert done.returncode == 0, done.stderr
    assert "org/model: new weights, to be learned: classifier.dense.bias, classifier.dense.weight" in done.stderr
    assert done.stderr.count("new weights") == 1
    assert "discriminator_predictions" not in done.stderr  # nobody misses the head of pre-training
    assert json.loads((tmp_path / "ckpt" / "run" / "settings.json").read_text())["model_revision"] == COMMIT

    again = run(UNREACHABLE, "org/model")  # a finished run does not need the hub
    assert (again.returncode, again.stdout) == (0, done.stdout)


@pytest.mark.long
def test_runs_use_the_cache_and_work_offline(hub, run, tmp_path):
    assert run(hub.url, "org/model", new_python=True).returncode == 0
    hub.requests.clear()
    assert run(hub.url, "org/model", "--seed", "2", new_python=True).returncode == 0
    # Nothing else in the background, either.
    assert hub.requests == ["GET /api/models/org/model", "HEAD /org/model/resolve/main/config.json"]
    hub.requests.clear()
    offline = run(hub.url, "org/model", "--seed", "3", new_python=True, HF_HUB_OFFLINE="1")
    assert offline.returncode == 0, offline.stderr
    assert COMMIT in offline.stderr
    assert hub.requests == []
    assert json.loads((tmp_path / "ckpt" / "run" / "settings.json").read_text())["model_revision"] == COMMIT


@pytest.mark.long
@pytest.mark.parametrize(("damage", "code"), [("truncated", 2), ("broken", 1)])
def test_a_run_with_bad_weights_ends_with_one_message_and_no_folder(hub, run, tmp_path, damage, code):
    weights = hub.folder / "org" / "model" / "pytorch_model.bin"
    if damage == "truncated":
        weights.write_bytes(weights.read_bytes()[:1000])
    else:
        hub.broken = {weights.name}
    done = run(hub.url, "org/model")
    assert (done.returncode, "Traceback" in done.stderr) == (code, False)
    assert "error: " in done.stderr and "'org/model'" in done.stderr
    assert not (tmp_path / "ckpt").exists()


def test_downloads_once_then_asks_for_the_commit_only(hub, connect, settings, caplog):
    (hub.folder / "org" / "model" / "tf_model.h5").write_bytes(b"of another library")
    connect(hub.url)
    load_from_hub(settings)
    assert downloads(hub) == {"config.json", "pytorch_model.bin", "tokenizer_config.json", "vocab.txt"}
    hub.requests.clear()
    connect(hub.url)
    load_from_hub(settings)
    assert hub.requests == ["GET /api/models/org/model", "HEAD /org/model/resolve/main/config.json"]
    hub.requests.clear()
    for url, offline in ((hub.url, True), (UNREACHABLE, False)):
        caplog.clear()
        connect(url, offline=offline)
        load_from_hub(settings)
        assert f"using the cached commit {COMMIT}" in caplog.text
    assert hub.requests == []


def test_fetches_python_code_only_if_trusted(hub, connect):
    (hub.folder / "org" / "model" / "modeling.py").write_text("")
    connect(hub.url)
    assert not (fetch_model("org/model", None) / "modeling.py").exists()
    assert (fetch_model("org/model", None, with_code=True) / "modeling.py").exists()


def test_fetches_a_pinned_revision(hub, connect):
    connect(hub.url)
    assert fetch_model("org/model", COMMIT).name == COMMIT
    with pytest.raises(ModelError, match=r"'org/model' has no revision 'v9'"):
        fetch_model("org/model", "v9")


@pytest.mark.parametrize(
    ("repository", "expected"),
    [
        ("org/none", "'org/none' is not on the hub"),
        ("org/empty", r"'org/empty' has no config\.json"),
        ("org/na me", "'org/na me' is neither a folder nor a hub id"),
    ],
)
def test_rejects_ids_that_are_not_models(hub, connect, repository, expected):
    (hub.folder / "org" / "empty").mkdir(parents=True)
    (hub.folder / "org" / "empty" / "README.md").write_text("nothing")
    connect(hub.url)
    with pytest.raises(ModelError, match=expected):
        fetch_model(repository, None)


def test_reports_a_missing_network_within_the_timeout(connect, monkeypatch):
    """Not after the minutes that the library's own attempts take together."""
    monkeypatch.setattr("src.model.hub.TIMEOUT", 0.5)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        for url in (UNREACHABLE, f"http://127.0.0.1:{silent.getsockname()[1]}"):  # nothing listens; nothing answers
            connect(url)
            started = time.monotonic()
            with pytest.raises(EnvironmentFailure, match=r"'org/model' .* not in the cache"):
                fetch_model("org/model", None)
            assert time.monotonic() - started < 5


def test_an_adapter_on_the_hub_is_not_a_model(hub, connect):
    folder = hub.folder / "org" / "adapter"
    folder.mkdir()
    (folder / "adapter_config.json").write_text('{"peft_type": "LORA"}')
    connect(hub.url)
    with pytest.raises(ModelError, match=r"'org/adapter' is an adapter.*merge_and_unload"):
        fetch_model("org/adapter", None)


def test_an_adapter_on_the_hub_may_have_a_config(hub, connect, settings):
    folder = hub.folder / "org" / "model"
    (folder / "pytorch_model.bin").unlink()
    (folder / "adapter_config.json").write_text('{"peft_type": "LORA"}')
    connect(hub.url)
    with pytest.raises(ModelError, match=r"'org/model' is an adapter.*merge_and_unload"):
        load_from_hub(settings)


def test_a_model_in_the_cache_needs_its_tokenizer(hub, connect, settings):
    """As after a program that loads no more than the model."""
    from huggingface_hub import hf_hub_download

    connect(hub.url)
    for name in ("pytorch_model.bin", "config.json"):
        hf_hub_download("org/model", name, revision="main")
    connect(UNREACHABLE, offline=True)
    with pytest.raises(EnvironmentFailure, match=r"'org/model' .* not in the cache \(missing: tokenizer\)"):
        load_from_hub(settings)


def test_names_the_missing_tokenizer_of_a_repository(hub, connect, settings):
    (hub.folder / "org" / "model" / "vocab.txt").unlink()
    connect(hub.url)
    with pytest.raises(ModelError, match=r"org/model: .* has no vocab\.txt"):
        load_from_hub(settings)


def test_rejects_truncated_weights(hub, connect, settings):
    weights = hub.folder / "org" / "model" / "pytorch_model.bin"
    weights.write_bytes(weights.read_bytes()[:1000])
    connect(hub.url)
    with pytest.raises(ModelError, match="the model of 'org/model' cannot be loaded"):
        load_from_hub(settings)


def test_a_broken_transfer_is_repeated_by_the_next_run(hub, connect, settings, monkeypatch):
    monkeypatch.setattr(time, "sleep", lambda seconds: None)  # huggingface_hub waits before it tries again
    hub.broken = {"pytorch_model.bin"}
    connect(hub.url)
    with pytest.raises(EnvironmentFailure, match=r"'org/model' .* not in the cache"):
        load_from_hub(settings)
    hub.broken = set()
    connect(hub.url)
    assert load_from_hub(settings)


def test_prefers_safetensors(hub, connect, settings):
    from safetensors.torch import save_file

    folder = hub.folder / "org" / "model"
    weights = torch.load(folder / "pytorch_model.bin")
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    connect(hub.url)
    _, model = load_from_hub(settings)
    name = "electra.encoder.layer.0.intermediate.dense.weight"
    assert torch.equal(model.state_dict()[name], weights[name])
    assert "model.safetensors" in downloads(hub)
    assert "pytorch_model.bin" not in downloads(hub)


def test_pickled_code_is_not_run(hub, connect, settings, tmp_path):
    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "proof"), "w"))

    torch.save({"electra.embeddings": Evil()}, hub.folder / "org" / "model" / "pytorch_model.bin")
    connect(hub.url)
    with pytest.raises(ModelError):
        load_from_hub(settings)
    assert not (tmp_path / "proof").exists()
