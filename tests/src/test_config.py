import json

import pytest

from processor import TASKS
from src.config import load_settings
from src.errors import ConfigError
from src.settings import ALIASES, COMMAND_LINE_ONLY, Settings, affects, counts_for
from tests.conftest import ROOT, SAMPLED_TASKS

MODEL_FILES = sorted(path.name for path in (ROOT / "config").glob("*.json"))
ORIGINAL = json.loads((ROOT / "tests" / "facts" / "hyperparameters.json").read_text())  # "<task>/<model>": settings


def load(*argv, config_dir=ROOT / "config"):
    return load_settings(["--config_dir", str(config_dir), *argv], script="test", tasks=list(TASKS))


def load_nsmc(folder, *argv, file="m.json"):
    return load("--task", "nsmc", "--config_file", file, *argv, config_dir=folder)


def error_of(*argv, **options):
    with pytest.raises(ConfigError) as caught:
        load(*argv, **options)
    return str(caught.value)


@pytest.fixture
def folder(tmp_path):
    """A config folder with one task and one model."""
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "nsmc.json").write_text('{"train_file": "a.txt", "test_file": "b.txt", "learning_rate": 1e-5}')
    (tmp_path / "m.json").write_text('{"model_name_or_path": "org/m", "seed": 7, "tasks": {"nsmc": {"seed": 8}}}')
    return tmp_path


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


def test_auto_requires_a_model_and_names_the_run_after_it():
    assert "model_name_or_path is missing" in error_of("--task", "nsmc", "--config_file", "auto.json")
    settings = load("--task", "nsmc", "--config_file", "auto.json", "--model_name_or_path", "klue/roberta-base")
    assert settings.output_dir == "roberta-base-nsmc-ckpt"


@pytest.mark.parametrize("name", COMMAND_LINE_ONLY)
def test_trust_is_only_accepted_on_the_command_line(folder, name):
    (folder / "t.json").write_text(json.dumps({"model_name_or_path": "m", name: True}))
    with pytest.raises(ConfigError, match=rf"t\.json: {name} = true: .* --{name}"):
        load_nsmc(folder, file="t.json")
    assert getattr(load_nsmc(folder, f"--{name}"), name) is True


@pytest.mark.parametrize("size", ["base", "small"])
def test_soongsil_bert_has_the_hyperparameters_of_koelectra_v3(size):
    for task in TASKS:
        soongsil = load("--task", task, "--config_file", f"soongsil-bert-{size}.json").model_dump()
        koelectra = load("--task", task, "--config_file", f"koelectra-{size}-v3.json").model_dump()
        same = {name for name in soongsil if soongsil[name] == koelectra[name]}
        assert set(soongsil) - same == {"config_file", "model_name_or_path", "model_type", "output_dir", "do_lower_case"}


def test_higher_layers_win_and_are_recorded(folder):
    settings = load_nsmc(folder, "--weight_decay", "0.01")
    names = ("seed", "learning_rate", "weight_decay", "adam_epsilon")
    assert {name: (getattr(settings, name), settings.layer_of(name)) for name in names} == {
        "seed": (8, f"{folder}/m.json (tasks.nsmc)"),
        "learning_rate": (1e-5, f"{folder}/tasks/nsmc.json"),
        "weight_decay": (0.01, "command line"),
        "adam_epsilon": (1e-8, "default"),
    }


def test_accepts_a_flat_file_of_the_original_unchanged(folder, caplog):
    (folder / "nsmc").mkdir()
    (folder / "nsmc" / "m.json").write_text(json.dumps(ORIGINAL["nsmc/koelectra-base"]))
    with caplog.at_level("INFO"):
        settings = load_nsmc(folder)
    assert settings.learning_rate == 5e-5  # not the task layer's 1e-5
    assert settings.output_dir == "koelectra-base-nsmc-ckpt"
    assert len(caplog.messages) == 1
    assert f"{folder}/nsmc/m.json" in caplog.messages[0] and f"instead of {folder}/m.json" in caplog.messages[0]


def test_rejects_a_flat_file_of_another_task(folder):
    (folder / "nsmc").mkdir()
    (folder / "nsmc" / "m.json").write_text('{"task": "paws", "model_name_or_path": "m", "train_file": "a", "test_file": "b"}')
    with pytest.raises(ConfigError, match="'paws', not 'nsmc'"):
        load_nsmc(folder)


def test_derives_output_dir_and_model_type(folder):
    settings = load_nsmc(folder)
    assert (settings.output_dir, settings.model_type) == ("m-nsmc-ckpt", "m")
    settings = load_nsmc(folder, "--model_name_or_path", "x/my-model/")
    assert (settings.output_dir, settings.model_type) == ("my-model-nsmc-ckpt", "m")
    assert settings.layer_of("output_dir") == "derived"


def test_converts_values_of_the_command_line():
    argv = "--task nsmc --no_cuda --do_eval false --learning_rate=3e-5 --max_steps -1 --do_lower_case null"
    settings = load(*argv.split())
    assert (settings.no_cuda, settings.do_eval, settings.learning_rate, settings.max_steps) == (True, False, 3e-5, -1)
    assert settings.do_lower_case is None
    assert load("--task", "korquad", "--max_seq_length", "300").max_seq_len == 300


def test_reports_all_errors_together_with_their_sources(folder):
    (folder / "m.json").write_text('{"model_name_or_path": "m", "learning_rat": 1e-5, "seed": "many", "tasks": {"nsms": {}}}')
    argv = "--train_bach_size 8 --max_seq_len many stray;word --seed"
    with pytest.raises(ConfigError) as caught:
        load_nsmc(folder, *argv.split())
    for expected in (
        f"{folder}/m.json: unknown setting 'learning_rat'. Did you mean 'learning_rate'?",
        f'{folder}/m.json: seed = "many": ',
        f"{folder}/m.json: unknown task 'nsms' in \"tasks\". Did you mean 'nsmc'?",
        "command line: unknown setting --train_bach_size. Did you mean '--train_batch_size'? See --help.",
        'command line: max_seq_len = "many": ',
        "command line: --seed needs a value",
        "command line: unexpected argument 'stray;word': write it as --name 'stray;word'.",
    ):
        assert expected in str(caught.value)


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        ("--task nsmcc", "Did you mean 'nsmc'?"),
        ("", "--task is missing; choose from nsmc"),
        ("--task nsmc --config_file koelectra-bse.json", "Did you mean 'koelectra-base.json'?"),
        ("--task nsmc --learning_rate", "--learning_rate needs a value"),
        ("--task nsmc --seed 4294967296", "less than or equal to 4294967295"),
        ("--task nsmc --num_train_epochs inf", "finite"),
        ("--task nsmc --learning_rate -1", "greater than 0"),
        ("--task nsmc --learning_rate nan", "finite"),
        ("--task nsmc --seed 1.5", "valid integer"),
        ("--task nsmc --do_train maybe", "valid boolean"),
        ("--task nsmc --mixed_precision fp8", "'auto', 'no', 'bf16' or 'fp16'"),
        ("--task nsmc --max_steps 0", "max_steps = 0: should be -1"),
        ("--task nsmc --max_steps 4294967296", "max_steps = 4294967296: should be at most 4,294,967,295"),
        ("--task nsmc --test_file=", "at least 1 character"),
        ("--task nsmc --train_file=", "train_file is missing"),
        ("--task nsmc --dev_file d.txt --dev_ratio 0.1", "command line: dev_ratio = 0.1: conflicts with dev_file = d.txt"),
        ("--task nsmc --test_file ../f", 'test_file = "../f"'),
        ("--task nsmc --output_dir ..", 'output_dir = ".."'),
        ("--task korquad --version_2_with_negative", "command line: version_2_with_negative = true"),
        ("--task nsmc --do_train false --overwrite_output_dir", "--overwrite_output_dir"),
    ],
)
def test_rejects_invalid_values_on_the_command_line(argv, expected):
    assert expected in error_of(*argv.split())


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("{", "m.json, line 1, column 2: not JSON"),
        ("[]", "found a JSON list"),
        ('{"model_name_or_path": "m", "tasks": []}', '"tasks" must be an object'),
        ('{"model_name_or_path": "m", "do_train": "yes"}', 'do_train = "yes": Input should be a valid boolean'),
        (
            '{"model_name_or_path": "m", "max_seq_len": 64, "max_seq_length": 128}',
            "'max_seq_length' is an alias of 'max_seq_len'",
        ),
        ("{}", "model_name_or_path is missing"),
    ],
)
def test_rejects_invalid_files(folder, content, expected):
    (folder / "m.json").write_text(content)
    with pytest.raises(ConfigError) as caught:
        load_nsmc(folder)
    assert expected in str(caught.value)


def test_settings_are_immutable():
    settings = load("--task", "nsmc")
    with pytest.raises(ValueError, match="frozen"):
        settings.seed = 1


def test_validating_settings_again_changes_nothing(folder):
    """They are built without pydantic's validation, as each value has been validated before."""
    values = load_nsmc(folder, "--train_batch_size", "8", "--torch_compile", "true", "--max_grad_norm", "2").model_dump()
    assert Settings(**values).model_dump() == values


def test_every_setting_has_an_effect_that_is_known():
    effects = {name: affects(name) for name in Settings.model_fields}
    assert {name for name, effect in effects.items() if effect == "outputs"} == {
        "answer_text",
        "n_best_size",
        "max_answer_length",
    }
    assert (effects["learning_rate"], effects["max_seq_len"], effects["ckpt_dir"]) == ("training", "scores", "nothing")


def test_only_span_tasks_use_the_settings_of_questions_and_answers():
    unused = {name for name in Settings.model_fields if not counts_for(name, "classification")}
    assert unused == {"answer_text", "doc_stride", "max_query_length", "max_answer_length", "n_best_size", "strict_data"}
    assert all(counts_for(name, "span") for name in Settings.model_fields)


def test_settings_of_a_model_are_reset_for_another_model(folder):
    (folder / "m.json").write_text(
        '{"model_name_or_path": "org/m", "revision": "abc", "from_scratch": true, "do_lower_case": false}'
    )
    same = load_nsmc(folder)
    assert (same.revision, same.from_scratch, same.do_lower_case) == ("abc", True, False)
    other = load_nsmc(folder, "--model_name_or_path", "org/n")
    assert (other.revision, other.from_scratch, other.do_lower_case) == (None, False, None)
    assert other.layer_of("revision") == "default"
    assert load_nsmc(folder, "--model_name_or_path", "n", "--revision", "x").revision == "x"


def test_names_a_run_after_the_link_not_its_target(folder):
    (folder / "model-2026").mkdir()
    (folder / "current").symlink_to(folder / "model-2026")
    settings = load_nsmc(folder, "--model_name_or_path", f"{folder}/current")
    assert settings.output_dir == "current-nsmc-ckpt"
