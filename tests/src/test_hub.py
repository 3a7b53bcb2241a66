"""The real way of a model from the hub to a run, with a small hub on the loopback address."""

import json
import shutil
import socket

import pytest
import torch
from transformers import ElectraConfig, ElectraForPreTraining, ElectraForSequenceClassification

from tests.conftest import SAMPLE
from tests.hub import COMMIT, serve


def publish(folder, model=ElectraForPreTraining, **changes):
    """A repository as KoELECTRA's are: .bin weights with the head of pre-training, an old config, no tokenizer.json."""
    folder.mkdir(parents=True)
    config = json.loads((SAMPLE / "tiny-electra" / "config.json").read_text()) | {"architectures": [model.__name__]}
    torch.manual_seed(1)
    weights = model(ElectraConfig(**config, **changes)).state_dict()
    torch.save(weights, folder / "pytorch_model.bin")
    (folder / "config.json").write_text(json.dumps(config))
    shutil.copy(SAMPLE / "tiny-electra" / "vocab.txt", folder)
    # The typo of koelectra-small-v2.
    (folder / "tokenizer_config.json").write_text('{"do_lower_case": false, "max_model_length": 512}')
    return weights


@pytest.fixture
def hub(tmp_path):
    (tmp_path / "hub").mkdir()
    with serve(tmp_path / "hub") as found:
        yield found


@pytest.fixture
def run(command, tmp_path):
    """run(url, "owner/name") fine-tunes for a step with that hub; the process that has ended, and its results."""

    def start(url, repository, *arguments, **env):
        places = [
            "--data_dir",
            "data/sample",
            "--ckpt_dir",
            str(tmp_path / "ckpt"),
            "--feature_cache_dir",
            str(tmp_path / "cache"),
        ]
        model = ["--config_file", "auto.json", "--model_name_or_path", repository, "--output_dir", "run", "--max_steps", "1"]
        environment = {"HF_ENDPOINT": url, "HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "0", **env}
        return command("run_seq_cls.py", "--task", "nsmc", *model, *places, *arguments, env=environment)

    return start


def record(tmp_path):
    return json.loads((tmp_path / "ckpt" / "run" / "settings.json").read_text())


def test_downloaded_once_then_cached_then_offline(hub, run, tmp_path):
    publish(hub.folder / "monologg" / "electra")
    (hub.folder / "monologg" / "electra" / "tf_model.h5").write_bytes(b"of another library")
    done = run(hub.url, "monologg/electra")
    assert done.returncode == 0, done.stderr
    assert "monologg/electra: new weights, to be learned: classifier.dense.bias, classifier.dense.weight" in done.stderr
    assert done.stderr.count("new weights") == 1
    assert "discriminator_predictions" not in done.stderr  # the head of pre-training is nobody's loss
    assert record(tmp_path)["model_revision"] == COMMIT
    fetched = {path.rsplit("/", 1)[1] for path in hub.asked if path.startswith("GET") and "/resolve/" in path}
    assert fetched == {"config.json", "pytorch_model.bin", "tokenizer_config.json", "vocab.txt"}

    hub.asked.clear()
    assert run(hub.url, "monologg/electra", "--seed", "2").returncode == 0
    # Which commit it is now, and nothing in the background.
    assert hub.asked == ["GET /api/models/monologg/electra", "HEAD /monologg/electra/resolve/main/config.json"]

    hub.asked.clear()
    offline = run(hub.url, "monologg/electra", "--seed", "3", HF_HUB_OFFLINE="1")
    assert offline.returncode == 0, offline.stderr
    assert f"the copy in the cache is used, commit {COMMIT}" in offline.stderr
    assert hub.asked == []
    assert record(tmp_path)["model_revision"] == COMMIT

    again = run("http://127.0.0.1:9", "monologg/electra", "--seed", "3")  # a finished run needs no hub at all
    assert again.returncode == 0
    assert again.stdout == offline.stdout


def test_a_pinned_revision(hub, run, tmp_path):
    publish(hub.folder / "org" / "model")
    assert run(hub.url, "org/model", "--revision", COMMIT).returncode == 0
    assert record(tmp_path)["model_revision"] == COMMIT
    missing = run(hub.url, "org/model", "--revision", "v9")
    assert missing.returncode == 2
    assert "'org/model' has no revision 'v9'" in missing.stderr


@pytest.mark.parametrize(
    ("repository", "expected"),
    [
        ("org/none", "'org/none' is not on the hub, or not for everybody. Check how it is written"),
        ("org/empty", "'org/empty' has no config.json"),
        ("org/na me", "is neither a folder nor a hub id"),
    ],
)
def test_ids_that_name_no_model(hub, run, repository, expected):
    (hub.folder / "org" / "empty").mkdir(parents=True)
    (hub.folder / "org" / "empty" / "README.md").write_text("nothing")
    done = run(hub.url, repository)
    assert done.returncode == 2
    assert expected in done.stderr
    assert "Traceback" not in done.stderr


def test_no_network_is_said_before_the_command_times_out(run):
    """Not after the minutes that the library's own attempts add up to."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        for url in ("http://127.0.0.1:9", f"http://127.0.0.1:{silent.getsockname()[1]}"):  # nobody there; nobody answers
            done = run(url, "org/model")
            assert done.returncode == 1
            assert "'org/model' cannot be fetched from the hub and is not in its cache" in done.stderr
            assert "Check the network, or copy the model's folder here" in done.stderr


def test_weights_that_are_cut_off(hub, run, tmp_path):
    publish(hub.folder / "org" / "model")
    weights = hub.folder / "org" / "model" / "pytorch_model.bin"
    weights.write_bytes(weights.read_bytes()[:1000])
    done = run(hub.url, "org/model")
    assert done.returncode == 2
    assert "error: the model of 'org/model' cannot be loaded" in done.stderr
    assert not (tmp_path / "ckpt").exists()


def test_a_transfer_that_breaks_is_not_kept(hub, run):
    publish(hub.folder / "org" / "model")
    hub.cut_off = {"pytorch_model.bin"}
    done = run(hub.url, "org/model")
    assert done.returncode == 1
    assert "'org/model' cannot be fetched from the hub and is not in its cache" in done.stderr
    assert "Traceback" not in done.stderr
    hub.cut_off = set()
    assert run(hub.url, "org/model").returncode == 0


def test_a_head_of_another_size_is_drawn_anew(hub, run):
    publish(hub.folder / "org" / "model", ElectraForSequenceClassification, num_labels=3)
    done = run(hub.url, "org/model")
    assert done.returncode == 0, done.stderr
    assert "new weights, to be learned: classifier.out_proj.bias, classifier.out_proj.weight" in done.stderr


def test_safe_weights_are_preferred(hub, run):
    from safetensors.torch import save_file

    folder = hub.folder / "org" / "model"
    save_file(publish(folder), folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "pytorch_model.bin").write_bytes(b"not to be read")
    done = run(hub.url, "org/model")
    assert done.returncode == 0, done.stderr
    assert not any("pytorch_model.bin" in path for path in hub.asked)


def test_pickled_code_is_not_run(hub, run, tmp_path):
    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "proof"), "w"))

    publish(hub.folder / "org" / "model")
    torch.save({"electra.embeddings": Evil()}, hub.folder / "org" / "model" / "pytorch_model.bin")
    done = run(hub.url, "org/model")
    assert done.returncode == 2
    assert not (tmp_path / "proof").exists()
