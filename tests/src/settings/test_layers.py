import json
from pathlib import Path

import pytest

from processor.definition import TASKS
from src.common.errors import ConfigError
from src.settings.layers import load_settings
from src.settings.schema import COMMAND_LINE_ONLY, Settings, affects, counts_for
from tests.conftest import ROOT


def load(*argv, config_dir=ROOT / "config"):
    return load_settings(["--config_dir", str(config_dir), *argv], script="test", tasks=TASKS)


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


def test_auto_requires_a_model_and_names_the_run_after_it():
    assert "model_name_or_path is missing" in error_of("--task", "nsmc", "--config_file", "auto.json")
    settings = load("--task", "nsmc", "--config_file", "auto.json", "--model_name_or_path", "klue/roberta-base")
    assert settings.output_dir == "roberta-base-nsmc-ckpt"


@pytest.mark.parametrize("name", COMMAND_LINE_ONLY)
def test_what_is_only_accepted_on_the_command_line(folder, name):
    value, flags = (
        (True, [f"--{name}"]) if Settings.model_fields[name].annotation is bool else ("m.json", [f"--{name}", "x.json"])
    )
    (folder / "t.json").write_text(json.dumps({"model_name_or_path": "m", name: value}))
    with pytest.raises(ConfigError, match=rf"t\.json: {name} = {json.dumps(value)}: .* --{name}"):
        load_nsmc(folder, file="t.json")
    assert "only allowed" not in error_of("--task", "nsmc", "--config_file", "m.json", "--seed", "x", *flags, config_dir=folder)


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
    original = json.loads((ROOT / "tests" / "facts" / "hyperparameters.json").read_text())
    (folder / "nsmc").mkdir()
    (folder / "nsmc" / "m.json").write_text(json.dumps(original["nsmc/koelectra-base"]))
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
        ("--task nsmc --test_file=", "pass --test_file FILE, or --test_ratio 0.1"),
        ("--task nsmc --test_ratio 0.1", "command line: test_ratio = 0.1: conflicts with test_file = ratings_test.txt"),
        ("--task nsmc --train_file=", "train_file is missing"),
        ("--task nsmc --dev_file d.txt --dev_ratio 0.1", "command line: dev_ratio = 0.1: conflicts with dev_file = d.txt"),
        ("--task nsmc --test_file ../f", 'test_file = "../f"'),
        ("--task nsmc --output_dir ..", 'output_dir = ".."'),
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
        "null_score_diff_threshold",
        "threshold",
    }
    assert (effects["learning_rate"], effects["max_seq_len"], effects["ckpt_dir"]) == ("training", "scores", "nothing")


def test_settings_that_not_all_kinds_of_task_use():
    def unused(kind):
        return {name for name in Settings.model_fields if not counts_for(name, kind)}

    span = {"answer_text", "doc_stride", "max_query_length", "max_answer_length", "n_best_size", "strict_data"}
    span |= {"version_2_with_negative", "null_score_diff_threshold"}
    labels = {"class_weights", "label_smoothing"}
    assert unused("span") == labels | {"threshold"}
    assert unused("classification") == span | {"threshold"}
    assert unused("multi_label") == span
    assert unused("tagging") == unused("regression") == span | labels | {"threshold"}


def test_the_threshold_is_a_probability_or_chosen_on_dev(folder):
    assert load_nsmc(folder, "--threshold", "0.3").threshold == 0.3
    assert load_nsmc(folder, "--threshold", "dev", "--dev_ratio", "0.1").threshold == "dev"
    for value, expected in [("1.5", "between 0 and 1"), ("best", "threshold"), ("dev", "no dev set")]:
        with pytest.raises(ConfigError, match=expected):
            load_nsmc(folder, "--threshold", value)


def test_early_stopping_needs_a_dev_set(folder):
    assert load_nsmc(folder, "--early_stopping_patience", "3", "--dev_ratio", "0.1").early_stopping_patience == 3
    with pytest.raises(ConfigError, match=r"early_stopping_patience = 3: .* dev .*--dev_file or --dev_ratio"):
        load_nsmc(folder, "--early_stopping_patience", "3")


@pytest.mark.parametrize(
    ("name", "value"),
    [("layer_decay", "0"), ("layer_decay", "1.1"), ("layer_decay", "nan"), ("label_smoothing", "1"), ("label_smoothing", "-0.1"),
     ("max_train_samples", "-1"), ("early_stopping_patience", "-1"), ("lr_scheduler", "polynomial")],
)  # fmt: skip
def test_rejects_values_out_of_range(folder, name, value):
    with pytest.raises(ConfigError, match=f"command line: {name} = "):
        load_nsmc(folder, f"--{name}={value}")


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


@pytest.fixture
def places(tmp_path, monkeypatch):
    """A working directory beside a data folder; write("data/nsmc/a.txt") puts a file into either."""
    monkeypatch.chdir(tmp_path)

    def write(name):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")

    return write


def test_a_data_file_of_the_command_line_is_in_the_tasks_folder_or_anywhere(places, tmp_path):
    places("data/nsmc/a.txt"), places("b.txt"), places("x/c.txt")
    settings = load("--task", "nsmc", "--train_file", "a.txt", "--dev_file", "b.txt", "--test_file", "data/../x/c.txt")
    assert settings.data_files == {
        "train": Path("data/nsmc/a.txt"),
        "dev": tmp_path / "b.txt",
        "test": tmp_path / "data/../x/c.txt",
    }
    assert settings.train_file == "a.txt"


def test_a_data_file_in_both_places_is_an_error(places, tmp_path):
    places("data/nsmc/a.txt"), places("a.txt")
    message = error_of("--task", "nsmc", "--train_file", "a.txt")
    assert 'train_file = "a.txt": found data/nsmc/a.txt and ' in message and f"{tmp_path}/a.txt" in message
    (tmp_path / "a.txt").unlink()
    (tmp_path / "a.txt").symlink_to(tmp_path / "data/nsmc/a.txt")  # the same file
    assert load("--task", "nsmc", "--train_file", "a.txt").train_file == "a.txt"


def test_a_data_file_in_neither_place_is_an_error_unless_it_can_be_downloaded(places, tmp_path):
    message = error_of("--task", "nsmc", "--train_file", "a.txt")
    assert "data/nsmc/a.txt" in message and f"{tmp_path}/a.txt" in message
    assert f"{tmp_path} is a folder" in error_of("--task", "nsmc", "--train_file", str(tmp_path))
    assert load("--task", "nsmc", "--train_file", "ratings_test.txt").train_file == "ratings_test.txt"


def test_a_missing_test_file_names_both_ways_out(folder):
    (folder / "tasks" / "nsmc.json").write_text('{"train_file": "a.txt"}')
    with pytest.raises(ConfigError, match=r"test_file is missing.*--test_file.*--test_ratio.*--do_eval false"):
        load_nsmc(folder)
    assert load_nsmc(folder, "--do_eval", "false").data_files.keys() == {"train"}


def test_a_task_by_the_path_of_its_file(folder):
    (folder / "other").mkdir()
    path = folder / "other" / "nsmc.json"
    path.write_text('{"train_file": "c.txt", "test_file": "d.txt"}')
    settings = load("--task", str(path), "--config_file", "m.json", config_dir=folder)
    assert (settings.task, settings.train_file, settings.layer_of("train_file")) == ("nsmc", "c.txt", str(path))
    assert settings.seed == 8  # of the model's part for the task
    assert "'x/nsmc'" in error_of("--task", "x/nsmc")
