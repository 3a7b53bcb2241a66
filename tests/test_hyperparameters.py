"""The hyperparameters of the config files, compared with those of the original and of Soongsil-BERT."""

import json

import pytest

from processor.definition import TASKS
from src.settings.aliases import ALIASES
from src.settings.layers import load_settings
from tests.conftest import ROOT, SAMPLED_TASKS

PUBLISHED = json.loads((ROOT / "src" / "report" / "published_scores.json").read_text(encoding="utf-8"))
MODEL_FILES = sorted(path.name for path in (ROOT / "config").glob("*.json"))
ORIGINAL = json.loads((ROOT / "tests" / "facts" / "hyperparameters.json").read_text())  # "<task>/<model>": settings


def load(*argv):
    return load_settings(["--config_dir", str(ROOT / "config"), *argv], script="test", tasks=TASKS)


def test_has_the_settings_of_the_original():
    for key, original in ORIGINAL.items():
        task, model = key.split("/")
        settings = load("--task", task, "--config_file", f"{model}.json").model_dump()
        expected = {"dev_file": ""} | {ALIASES.get(name, name): value for name, value in original.items()}
        assert {name: settings[name] for name in expected} == expected, key


def test_the_original_settings_cover_every_task_and_ten_models():
    assert {key.split("/")[0] for key in ORIGINAL} == set(SAMPLED_TASKS)
    assert len(ORIGINAL) == 10 * len(SAMPLED_TASKS)


def test_every_model_file_gives_settings_for_every_task():
    for file in MODEL_FILES:
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


def test_published_models_have_a_file_if_they_can_be_loaded():
    """The others: Funnel and BigBird are not supported, some are not on the hub, some have no Rust tokenizer, one is untried."""
    assert {name for name in PUBLISHED["models"] if f"{name}.json" not in MODEL_FILES} == {
        "funnel-kor-base", "kobigbird-bert-base", "kpf-bert", "enliple-large-v1", "enliple-large-v2",
        "kocharelectra-base", "kocharelectra-small", "albert-kor-base", "ax-encoder-base",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("model", "positions"),
    [("kcbert-base", 300), ("kcbert-large", 300), ("dialog-koelectra-small", 128), ("kf-deberta-base", 512)],
)
def test_rows_fit_into_the_positions_of_a_model(model, positions):
    lengths = {task: load("--task", task, "--config_file", f"{model}.json").max_seq_len for task in TASKS}
    assert max(lengths.values()) == lengths["korquad"] == positions


def test_windows_skip_no_tokens():
    """Three special tokens, or four as in RoBERTa."""
    for file in set(MODEL_FILES) - {"auto.json"}:
        korquad = load("--task", "korquad", "--config_file", file)
        assert korquad.doc_stride <= korquad.max_seq_len - korquad.max_query_length - 4, file


def test_versions_of_kcelectra_are_revisions_of_one_repository():
    for version in ("v2021", "v2022"):
        settings = load("--task", "nsmc", "--config_file", f"kcelectra-base-{version}.json")
        assert (settings.model_name_or_path, settings.revision) == ("beomi/KcELECTRA-base", version)
    assert load("--task", "nsmc", "--config_file", "kcelectra-base-v2022.json", "--revision", "abc").revision == "abc"


@pytest.mark.parametrize("model", ["tunib-electra-ko-small", "tunib-electra-ko-en-small"])
def test_small_electras_have_the_hyperparameters_of_koelectra_small_v3(model):
    for task in TASKS:
        same, other = (
            load("--task", task, "--config_file", f"{name}.json").model_dump() for name in (model, "koelectra-small-v3")
        )
        assert {name for name in same if same[name] != other[name]} <= {
            "config_file", "model_name_or_path", "model_type", "output_dir", "do_lower_case",
        }  # fmt: skip
