import json

import pytest

from src.config import load_settings
from src.errors import ConfigError
from src.settings import ALIASES, Settings, affects, counts_for
from tests.conftest import ROOT

EIGHT = ["nsmc", "naver-ner", "paws", "kornli", "korsts", "question-pair", "korquad", "hate-speech"]


def load(*argv, config_dir=ROOT / "config"):
    return load_settings(["--config_dir", str(config_dir), *argv], script="test", tasks=EIGHT)


def problem(*argv, **options):
    with pytest.raises(ConfigError) as caught:
        load(*argv, **options)
    return str(caught.value)


@pytest.fixture
def folder(tmp_path):
    """A config folder of one task and one model."""
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "nsmc.json").write_text('{"train_file": "a.txt", "test_file": "b.txt", "learning_rate": 1e-5}')
    (tmp_path / "m.json").write_text('{"model_name_or_path": "org/m", "seed": 7, "tasks": {"nsmc": {"seed": 8}}}')
    return tmp_path


def test_the_80_settings_of_the_original():
    facts = json.loads((ROOT / "tests" / "facts" / "hyperparameters.json").read_text())
    seen = 0
    for key, original in facts.items():
        task, model = key.split("/")
        settings = load("--task", task, "--config_file", f"{model}.json").model_dump()
        expected = {ALIASES.get(name, name): value for name, value in original.items()}
        assert {name: settings[name] for name in expected} == expected, key
        assert settings["dev_file"] == original.get("dev_file", "")
        seen += 1
    assert seen == 80


def test_every_model_file_gives_settings_for_every_task():
    files = sorted(path.name for path in (ROOT / "config").glob("*.json"))
    assert len(files) == 27  # ten of the original, two of Soongsil-BERT, thirteen newer ones, tiny, auto
    for file in files:
        model = ("--model_name_or_path", "org/model") if file == "auto.json" else ()
        for task in EIGHT:
            assert load("--task", task, "--config_file", file, *model).task == task


def test_auto_needs_a_model_and_is_named_after_it():
    with pytest.raises(ConfigError, match="model_name_or_path is missing"):
        load("--task", "nsmc", "--config_file", "auto.json")
    settings = load("--task", "nsmc", "--config_file", "auto.json", "--model_name_or_path", "klue/roberta-base")
    assert settings.output_dir == "roberta-base-nsmc-ckpt"


@pytest.mark.parametrize("name", ["trust_native_code", "trust_remote_code"])
def test_trust_is_given_on_the_command_line_alone(folder, name):
    (folder / "t.json").write_text(json.dumps({"model_name_or_path": "m", name: True}))
    with pytest.raises(ConfigError, match=f"t.json: {name} = true: this counts on the command line only, as --{name}"):
        load("--task", "nsmc", "--config_file", "t.json", config_dir=folder)
    assert getattr(load("--task", "nsmc", "--config_file", "m.json", f"--{name}", config_dir=folder), name) is True


@pytest.mark.parametrize("size", ["base", "small"])
def test_soongsil_bert_has_the_hyperparameters_of_koelectra_v3(size):
    for task in EIGHT:
        soongsil = load("--task", task, "--config_file", f"soongsil-bert-{size}.json").model_dump()
        koelectra = load("--task", task, "--config_file", f"koelectra-{size}-v3.json").model_dump()
        same = {name for name in soongsil if soongsil[name] == koelectra[name]}
        assert set(soongsil) - same == {"config_file", "model_name_or_path", "model_type", "output_dir", "do_lower_case"}


def test_later_layers_win_and_say_so(folder):
    settings = load("--task", "nsmc", "--config_file", "m.json", "--weight_decay", "0.01", config_dir=folder)
    shown = {
        name: (getattr(settings, name), settings.layer_of(name))
        for name in ("seed", "learning_rate", "weight_decay", "adam_epsilon")
    }
    assert shown == {
        "seed": (8, f"{folder}/m.json (tasks.nsmc)"),
        "learning_rate": (1e-5, f"{folder}/tasks/nsmc.json"),
        "weight_decay": (0.01, "command line"),
        "adam_epsilon": (1e-8, "default"),
    }


def test_a_flat_file_of_the_original_runs_unchanged(folder, caplog):
    original = json.loads((ROOT / "tests" / "facts" / "hyperparameters.json").read_text())["nsmc/koelectra-base"]
    (folder / "nsmc").mkdir()
    (folder / "nsmc" / "m.json").write_text(json.dumps(original))
    with caplog.at_level("INFO"):
        settings = load("--task", "nsmc", "--config_file", "m.json", config_dir=folder)
    assert settings.learning_rate == 5e-5  # not the task layer's 1e-5
    assert settings.output_dir == "koelectra-base-nsmc-ckpt"
    assert len(caplog.messages) == 1
    assert "used instead" in caplog.messages[0]


def test_a_flat_file_of_another_task_is_refused(folder):
    (folder / "nsmc").mkdir()
    (folder / "nsmc" / "m.json").write_text('{"task": "paws", "model_name_or_path": "m", "train_file": "a", "test_file": "b"}')
    assert "is for task 'paws', not 'nsmc'" in problem("--task", "nsmc", "--config_file", "m.json", config_dir=folder)


def test_derived_names(folder):
    settings = load("--task", "nsmc", "--config_file", "m.json", config_dir=folder)
    assert (settings.output_dir, settings.model_type) == ("m-nsmc-ckpt", "m")
    settings = load("--task", "nsmc", "--config_file", "m.json", "--model_name_or_path", "x/my-model/", config_dir=folder)
    assert (settings.output_dir, settings.model_type) == ("my-model-nsmc-ckpt", "m")
    assert settings.layer_of("output_dir") == "derived"


def test_values_of_the_command_line():
    settings = load(
        "--task",
        "nsmc",
        "--no_cuda",
        "--do_eval",
        "false",
        "--learning_rate=3e-5",
        "--max_steps",
        "-1",
        "--do_lower_case",
        "null",
    )
    assert (settings.no_cuda, settings.do_eval, settings.learning_rate, settings.max_steps) == (True, False, 3e-5, -1)
    assert settings.do_lower_case is None
    assert load("--task", "korquad", "--max_seq_length", "300").max_seq_len == 300


def test_all_problems_are_told_at_once_with_their_source(folder):
    (folder / "m.json").write_text('{"model_name_or_path": "m", "learning_rat": 1e-5, "seed": "many", "tasks": {"nsms": {}}}')
    text = problem(
        "--task",
        "nsmc",
        "--config_file",
        "m.json",
        "--train_bach_size",
        "8",
        "--max_seq_len",
        "many",
        "stray",
        "--seed",
        config_dir=folder,
    )
    for expected in (
        f"{folder}/m.json: 'learning_rat' is no setting. Did you mean 'learning_rate'?",
        f'{folder}/m.json: seed = "many": Input should be a valid integer',
        f"{folder}/m.json: \"tasks\" names the unknown task 'nsms'. Did you mean 'nsmc'?",
        "command line: --train_bach_size is no setting. Did you mean 'train_batch_size'?",
        'command line: max_seq_len = "many": Input should be a valid integer',
        "command line: --seed needs a value",
        "command line: 'stray' stands without a setting's name",
    ):
        assert expected in text


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["--task", "nsmcc"], "Did you mean 'nsmc'?"),
        ([], "--task is missing; choose from nsmc"),
        (["--task", "nsmc", "--config_file", "koelectra-bse.json"], "Did you mean 'koelectra-base.json'?"),
        (["--task", "nsmc", "--learning_rate"], "--learning_rate needs a value"),
        (["--task", "nsmc", "--seed", "4294967296"], "less than or equal to 4294967295"),
        (["--task", "nsmc", "--num_train_epochs", "inf"], "finite"),
        (["--task", "nsmc", "--learning_rate", "-1"], "greater than 0"),
        (["--task", "nsmc", "--learning_rate", "nan"], "finite"),
        (["--task", "nsmc", "--seed", "1.5"], "valid integer"),
        (["--task", "nsmc", "--do_train", "maybe"], "valid boolean"),
        (["--task", "nsmc", "--mixed_precision", "fp8"], "'auto', 'no', 'bf16' or 'fp16'"),
        (["--task", "nsmc", "--max_steps", "0"], "should be -1 (by epochs) or the number of updates"),
        (["--task", "nsmc", "--test_file", ""], "at least 1 character"),
        (["--task", "nsmc", "--train_file", ""], "train_file is given nowhere"),
        (["--task", "nsmc", "--output_dir", ".."], "should name a folder of its own"),
        (["--task", "korquad", "--version_2_with_negative"], "no unanswerable questions"),
        (["--task", "nsmc", "--do_train", "false", "--overwrite_output_dir"], "would remove the checkpoints"),
    ],
)
def test_mistakes_on_the_command_line(argv, expected):
    assert expected in problem(*argv)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("{", "m.json, line 1, column 2: not JSON"),
        ("[]", "holds a JSON list, not an object"),
        ('{"model_name_or_path": "m", "tasks": []}', '"tasks" must hold an object'),
        ('{"model_name_or_path": "m", "do_train": "yes"}', 'do_train = "yes": Input should be a valid boolean'),
        ('{"model_name_or_path": "m", "max_seq_len": 64, "max_seq_length": 128}', "name one setting but differ"),
        ("{}", "model_name_or_path is missing"),
    ],
)
def test_mistakes_in_a_file(folder, content, expected):
    (folder / "m.json").write_text(content)
    assert expected in problem("--task", "nsmc", "--config_file", "m.json", config_dir=folder)


def test_settings_cannot_be_changed():
    settings = load("--task", "nsmc")
    with pytest.raises(ValueError, match="frozen"):
        settings.seed = 1


def test_which_settings_change_what():
    kinds = {name: affects(name) for name in Settings.model_fields}
    assert set(kinds.values()) == {"training", "scores", "outputs", "nothing"}
    assert {name for name, kind in kinds.items() if kind == "outputs"} == {"answer_text", "n_best_size", "max_answer_length"}
    assert (kinds["learning_rate"], kinds["max_seq_len"], kinds["ckpt_dir"]) == ("training", "scores", "nothing")


def test_which_settings_count_for_which_tasks():
    of_spans = {name for name in Settings.model_fields if not counts_for(name, "classification")}
    assert of_spans == {
        "answer_text", "doc_stride", "max_query_length", "max_answer_length", "n_best_size", "strict_data",
    }  # fmt: skip
    assert all(counts_for(name, "span") for name in Settings.model_fields)


def test_what_describes_a_model_does_not_stay_for_another(folder):
    (folder / "m.json").write_text(
        '{"model_name_or_path": "org/m", "revision": "abc", "from_scratch": true, "do_lower_case": false}'
    )
    same = load("--task", "nsmc", "--config_file", "m.json", config_dir=folder)
    assert (same.revision, same.from_scratch, same.do_lower_case) == ("abc", True, False)
    other = load("--task", "nsmc", "--config_file", "m.json", "--model_name_or_path", "org/n", config_dir=folder)
    assert (other.revision, other.from_scratch, other.do_lower_case) == (None, False, None)
    given = load("--task", "nsmc", "--config_file", "m.json", "--model_name_or_path", "n", "--revision", "x", config_dir=folder)
    assert given.revision == "x"


def test_the_name_of_a_link_is_kept(folder):
    (folder / "model-2026").mkdir()
    (folder / "current").symlink_to(folder / "model-2026")
    settings = load("--task", "nsmc", "--config_file", "m.json", "--model_name_or_path", f"{folder}/current", config_dir=folder)
    assert settings.output_dir == "current-nsmc-ckpt"
