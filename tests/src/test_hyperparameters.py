"""The hyperparameters of the config files, compared with those of the original and of Soongsil-BERT."""

import json

import pytest

from processor import TASKS
from src.config import load_settings
from src.settings import ALIASES
from tests.conftest import ROOT, SAMPLED_TASKS

MODEL_FILES = sorted(path.name for path in (ROOT / "config").glob("*.json"))
ORIGINAL = json.loads((ROOT / "tests" / "facts" / "hyperparameters.json").read_text())  # "<task>/<model>": settings


def load(*argv):
    return load_settings(["--config_dir", str(ROOT / "config"), *argv], script="test", tasks=TASKS)


@pytest.mark.parametrize("key", ORIGINAL)
def test_has_the_settings_of_the_original(key):
    task, model = key.split("/")
    settings = load("--task", task, "--config_file", f"{model}.json").model_dump()
    expected = {ALIASES.get(name, name): value for name, value in ORIGINAL[key].items()}
    assert {name: settings[name] for name in expected} == expected
    assert settings["dev_file"] == expected.get("dev_file", "")


def test_the_original_settings_cover_every_task_and_ten_models():
    assert {key.split("/")[0] for key in ORIGINAL} == set(SAMPLED_TASKS)
    assert len(ORIGINAL) == 10 * len(SAMPLED_TASKS)


@pytest.mark.parametrize("file", MODEL_FILES)
def test_every_model_file_gives_settings_for_every_task(file):
    model = ("--model_name_or_path", "org/model") if file == "auto.json" else ()
    for task in TASKS:
        assert load("--task", task, "--config_file", file, *model).task == task


@pytest.mark.parametrize("size", ["base", "small"])
def test_soongsil_bert_has_the_hyperparameters_of_koelectra_v3(size):
    for task in TASKS:
        soongsil = load("--task", task, "--config_file", f"soongsil-bert-{size}.json").model_dump()
        koelectra = load("--task", task, "--config_file", f"koelectra-{size}-v3.json").model_dump()
        same = {name for name in soongsil if soongsil[name] == koelectra[name]}
        assert set(soongsil) - same == {"config_file", "model_name_or_path", "model_type", "output_dir", "do_lower_case"}
