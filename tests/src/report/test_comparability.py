import json
from dataclasses import replace

import pytest

from processor.definition import TASKS
from src.report.comparability import PublishedSettings, find_differences
from src.report.record import affecting_scores
from src.settings.layers import load_settings
from tests.conftest import ROOT
from tests.src.report.helpers import PUBLISHED, finished, records_in

SETTINGS = PublishedSettings(ROOT / "config", TASKS, PUBLISHED)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"status": "other"}, ["train and test file"]),
        ({"rest": ("--eval_all_checkpoints", "false")}, ["(eval_all_checkpoints False)"]),
        ({"rest": ("--from_scratch",)}, ["(from_scratch True)"]),
        ({"rest": ("--revision", "abc")}, ["(revision abc)"]),
        ({"rest": ("--max_steps", "9", "--dev_ratio", "0.1")}, ["(dev_ratio 0.1, max_steps 9)"]),
    ],
)
def test_runs_that_are_not_comparable_with_published_scores(tmp_path, changes, expected):
    finished(tmp_path, **changes)
    reason = SETTINGS.reason_not_comparable(records_in(tmp_path)[0])
    assert all(part in reason for part in expected)


@pytest.mark.parametrize("table", ["base", "small"])
def test_the_published_settings_are_those_of_a_run_without_flags(table):
    models = [model for model, about in PUBLISHED.models.items() if about["table"] == table]
    for model in (model for model in models if (ROOT / "config" / f"{model}.json").is_file()):
        for task in PUBLISHED.scores(model):
            flags = ["--task", task, "--config_file", f"{model}.json", "--config_dir", str(ROOT / "config")]
            values = load_settings(flags, script="test", tasks=TASKS).model_dump()
            assert SETTINGS.settings(model, task) == affecting_scores(values, TASKS[task].kind)


def test_runs_that_are_comparable_with_published_scores(tmp_path):
    """Repeating the value of a setting changes nothing; nor does the implementation on a GPU."""
    finished(tmp_path, rest=("--max_seq_len", "128", "--mixed_precision", "bf16", "--eval_batch_size", "8"))
    finished(tmp_path, model="tiny", rest=("--max_steps", "5"))  # nothing is published for it
    assert [SETTINGS.reason_not_comparable(record) for record in records_in(tmp_path)] == ["", ""]


def test_a_run_that_has_not_recorded_a_new_setting(tmp_path):
    path = finished(tmp_path).folder / "settings.json"
    record = json.loads(path.read_text())
    del record["settings"]["class_weights"]
    path.write_text(json.dumps(record))
    assert SETTINGS.reason_not_comparable(records_in(tmp_path)[0]) == ""


def test_a_published_model_on_a_task_of_ones_own(tmp_path):
    """The task has no file in the published config; the model is recognized by its settings on another task."""
    finished(tmp_path)
    record = replace(records_in(tmp_path)[0], task="topics")
    assert SETTINGS.is_same_model(record) and SETTINGS.reason_not_comparable(record) == ""
    assert not SETTINGS.is_same_model(replace(record, model="kobert"))


def test_hyperparameters_of_model_files_are_no_differences(tmp_path):
    for model in ("koelectra-base-v3", "xlm-roberta"):
        for seed in (1, 2):
            finished(tmp_path, model=model, seed=seed)
    assert find_differences(records_in(tmp_path), TASKS) == ({}, set())


def test_a_setting_of_some_runs_is_a_difference(tmp_path):
    for model, seed, rest in [("tiny", 1, ("--max_steps", "5")), ("tiny", 2, ()), ("kcbert-base", 1, ()), ("kcbert-base", 2, ())]:
        finished(tmp_path, model=model, seed=seed, rest=rest)
    differences, flagged = find_differences(records_in(tmp_path), TASKS)
    assert differences == {"max_steps: -1 (kcbert-base seed 1 2, tiny seed 2); 5 (tiny seed 1)": ["nsmc"]}
    assert flagged == {("tiny", "nsmc")}


def test_repeating_the_value_of_a_setting_is_no_difference(tmp_path):
    finished(tmp_path, seed=1, rest=("--max_seq_len", "128"))
    finished(tmp_path, seed=2)
    assert find_differences(records_in(tmp_path), TASKS) == ({}, set())


def test_rescoring_with_other_settings_is_a_difference(tmp_path):
    """It changes the settings of the run, but not their layers."""
    finished(tmp_path, model="kobert", task="korquad")
    settings = finished(tmp_path, model="tiny", task="korquad").folder / "settings.json"
    settings.write_text(settings.read_text().replace('"answer_text": "offsets"', '"answer_text": "legacy"'))
    assert find_differences(records_in(tmp_path), TASKS)[0] == {
        "answer_text: offsets (kobert seed 1); legacy (tiny seed 1)": ["korquad"]
    }


def test_a_setting_may_differ_between_models_and_within_another_model(tmp_path):
    """The model file of A changed between its seeds; B has the default, C has a value from the command line."""
    config = tmp_path / "a.json"
    for seed, rate in [(1, "1e-5"), (2, "2e-5")]:
        config.write_text(f'{{"model_name_or_path": "x/y", "learning_rate": {rate}}}')
        finished(tmp_path, model=str(config), seed=seed)
    finished(tmp_path, model="kobert")
    finished(tmp_path, model="kcbert-base", rest=("--learning_rate", "1e-4"))
    differences, flagged = find_differences(records_in(tmp_path), TASKS)
    assert set(differences) == {
        "learning_rate: 0.0001 (kcbert-base seed 1); 5e-05 (kobert seed 1)",
        "learning_rate: 1e-05 (a seed 1); 2e-05 (a seed 2)",
    }
    assert ("a", "nsmc") in flagged


def test_a_model_file_in_a_folder_named_tasks(tmp_path):
    (tmp_path / "tasks").mkdir()
    mine = tmp_path / "tasks" / "mine.json"
    mine.write_text('{"model_name_or_path": "x/y", "learning_rate": 1e-5}')
    finished(tmp_path, model=str(mine))
    finished(tmp_path, model="kobert")
    assert find_differences(records_in(tmp_path), TASKS) == ({}, set())


def test_the_number_of_scored_checkpoints_is_a_difference(tmp_path):
    """The best of three is better than the best of two by chance."""
    for seed in (1, 2, 3):
        results = finished(tmp_path, seed=seed).folder / "eval_results.json"
        content = json.loads(results.read_text())
        content["scores"]["15"] = {"dev" if seed == 3 else "test": {"acc": 0.5}}
        results.write_text(json.dumps(content))
    differences, flagged = find_differences(records_in(tmp_path), TASKS)
    assert differences == {"checkpoints scored on test: 3 (koelectra-base-v3 seed 1 2); 2 (koelectra-base-v3 seed 3)": ["nsmc"]}
    assert flagged == {("koelectra-base-v3", "nsmc")}


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"sha256": "b" * 64}, "test file: aaaaaaaaaaaa (kcbert-base seed 1); bbbbbbbbbbbb (tiny seed 1)"),
        ({"precision": "bf16"}, "precision: no (kcbert-base seed 1); bf16 (tiny seed 1)"),
        ({"torch": "2.14.0"}, "version of torch: 2.13.0 (kcbert-base seed 1); 2.14.0 (tiny seed 1)"),
        ({"processes": 2}, "processes: 1 (kcbert-base seed 1); 2 (tiny seed 1)"),
        ({"by": "dev"}, "checkpoint selected by: last (kcbert-base seed 1); dev (tiny seed 1)"),
    ],
)
def test_other_conditions_are_differences(tmp_path, changes, text):
    """Without a majority all runs are flagged."""
    finished(tmp_path, model="kcbert-base")
    finished(tmp_path, model="tiny", **changes)
    differences, flagged = find_differences(records_in(tmp_path), TASKS)
    assert differences[text] == ["nsmc"]
    assert flagged == {("kcbert-base", "nsmc"), ("tiny", "nsmc")}


def test_every_setting_counts_between_seeds(tmp_path):
    """The model file was edited between two seeds."""
    config = tmp_path / "mine.json"
    for seed, rate in [(1, "1e-5"), (2, "2e-5"), (3, "2e-5")]:
        config.write_text(f'{{"model_name_or_path": "x/y", "learning_rate": {rate}}}')
        finished(tmp_path, model=str(config), seed=seed)
    finished(tmp_path, model="tiny", seed=1)
    differences, flagged = find_differences(records_in(tmp_path), TASKS)
    assert differences == {"learning_rate: 1e-05 (mine seed 1); 2e-05 (mine seed 2 3)": ["nsmc"]}
    assert flagged == {("mine", "nsmc")}


def test_weights_that_changed_between_seeds_are_a_difference(tmp_path):
    for seed, weights in [(1, "a" * 64), (2, "b" * 64), (3, "b" * 64)]:
        finished(tmp_path, model="tiny", seed=seed, weights=weights)
    finished(tmp_path, model="kobert", weights="c" * 64)
    differences, flagged = find_differences(records_in(tmp_path), TASKS)
    assert differences == {"weights: aaaaaaaaaaaa (tiny seed 1); bbbbbbbbbbbb (tiny seed 2 3)": ["nsmc"]}
    assert flagged == {("tiny", "nsmc")}


def test_a_difference_in_several_tasks_is_described_once(tmp_path):
    for task in ("nsmc", "paws"):
        finished(tmp_path, model="kcbert-base", task=task)
        finished(tmp_path, model="tiny", task=task, torch="2.14.0")
    assert list(find_differences(records_in(tmp_path), TASKS)[0].values()) == [["nsmc", "paws"]]
