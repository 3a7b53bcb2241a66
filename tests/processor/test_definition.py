import json
import shutil

import pytest

from processor.definition import TASKS, make_task, named_files, read_tasks, recorded_tasks
from src.common.errors import ConfigError
from tests.conftest import ROOT

REVIEWS = {"kind": "classification", "columns": ["review", "stars"], "text": "review", "label": "stars", "labels": {"1": "bad"}}


def write(folder, name, content):
    path = folder / "tasks" / f"{name}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def test_fills_in_the_defaults_of_the_kind():
    task = make_task("reviews", REVIEWS, "f")
    assert (task.title, task.text, task.metric, task.headline) == ("reviews", ("review",), "accuracy", "acc")
    assert make_task("reviews", REVIEWS | {"metric": "macro_f1"}, "f").headline == "f1"
    reading = make_task("reading", {"kind": "span"}, "f")
    assert (reading.format, reading.text, reading.headline) == ("squad", ("question", "context"), "f1")


def test_labels_columns_and_format_may_be_left_to_the_files():
    task = make_task("reviews", {"kind": "classification", "text": "review", "label": "stars"}, "f")
    assert (task.labels, task.columns, task.format, task.encoding) == (None, (), None, "utf-8")


def test_the_files_that_a_task_file_names(tmp_path):
    write(tmp_path, "reviews", {"train_file": "a.csv", "predict_file": "/b.csv", "dev_file": ""})
    assert named_files("reviews", tmp_path) == {"train": "a.csv", "test": "/b.csv"}
    assert named_files("paws", tmp_path)["dev"] == "dev_2k.tsv"  # of the project
    assert named_files("nothing", tmp_path) == {}


def test_a_task_with_a_column_for_each_label():
    columns = {"kind": "multi_label", "columns": ["text", "art", "sports"], "text": "text", "label": ["sports", "art"]}
    task = make_task("topics", columns, "f")
    assert (list(task.labels), task.metric, task.headline) == (["sports", "art"], "multi_label_f1", "micro_f1")
    named = make_task("topics", columns | {"labels": {"sports": "Sports", "art": "Art"}}, "f")
    assert named.labels["art"] == "Art"
    for labels in ({"art": "Art", "sports": "Sports"}, {"sports": "Sports"}):
        with pytest.raises(ConfigError, match="in their order: sports, art"):
            make_task("topics", columns | {"labels": labels}, "f")


def test_a_recorded_definition_is_the_task_again():
    for name, task in TASKS.items():
        assert make_task(name, task.model_dump(mode="json", exclude_defaults=True), "record") == task


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"kind": "clasification"}, "'classification'"),
        ({"kind": None}, "kind"),
        ({"kind": "regression"}, "labels: a regression task has none"),
        ({"text": ["review", "starts"]}, "text: 'starts' is not one of the columns review, stars. Did you mean 'stars'?"),
        ({"text": []}, "text = []"),
        ({"text": ["a", "b", "c"]}, "text"),
        ({"label": "star"}, "label: 'star'"),
        ({"columns": [], "header": False}, "columns is missing"),
        ({"columns": ["review", "stars", "stars"]}, "columns: a name occurs twice"),
        ({"labels": {}}, "labels is empty"),
        ({"label": ["stars", "review"]}, "label: a classification task has one column"),
        ({"kind": "tagging", "text": ["review", "stars"]}, "text: a tagging task has one column"),
        ({"format": "excel"}, 'format = "excel"'),
        ({"format": "squad"}, "format = 'squad': a classification task has files in the format 'tsv'"),
        ({"format": "conll"}, "format = 'conll': a classification task has files in the format 'tsv'"),
        ({"kind": "span", "format": "json", "labels": None}, "format = 'json': a span task has files in the format 'squad'"),
        ({"encoding": "cp94"}, "encoding = 'cp94': is not the name of an encoding, such as utf-8, cp949, utf-16. Did you mean"),
        ({"encoding": "hex"}, "encoding = 'hex'"),
        ({"kind": "multi_label"}, "labels: a multi_label task has two or more"),
        ({"label_separator": ""}, "label_separator"),
        ({"labels": {"1": 2}}, "labels.1 = 2"),
        ({"metric": "acuracy"}, "Did you mean 'accuracy'?"),
        ({"metric": "entity_f1"}, "metric = 'entity_f1': does not score classification tasks; choose from accuracy, macro_f1"),
        ({"kind": "regression", "labels": None, "metric": "accuracy"}, "choose from correlation, similarity"),
        ({"kind": "tagging", "labels": {"0": "O", "1": "B-PER"}}, "labels: the tags must be O and, all in the same form"),
        ({"colunms": ["a"]}, "unknown field 'colunms'. Did you mean 'columns'?"),
        ({"order": "1"}, 'order = "1"'),
        ({"delimiter": ""}, 'delimiter = ""'),
        ({"delimiter": ", "}, "delimiter"),
        ({"choices": ["review", "stars"]}, "choices: a classification task has none"),
        ({"spellings": {"one": "2"}}, "spellings: '2' is not one of the labels 1"),
        ({"kind": "regression", "labels": None, "spellings": {"a": "b"}}, "spellings: there are no labels"),
        ({"per_file": {"a.csv": {"colums": ["a"]}}}, "unknown field 'per_file.a.csv.colums'. Did you mean 'columns'?"),
        ({"per_file": {"a.csv": {"metric": "accuracy"}}}, "unknown field 'per_file.a.csv.metric'"),
        ({"per_file": {"a.csv": {"text": "sentence"}}}, "per_file.a.csv: text: 'sentence' is not one of the columns"),
        ({"per_file": {"a.csv": {"text": ["review", "stars"]}}}, "per_file.a.csv: text: found 2 columns, expected 1"),
        ({"per_file": {"a.csv": {"spellings": {"x": "2"}}}}, "per_file.a.csv: spellings: '2' is not one of the labels 1"),
        ({"per_file": {"a.csv": {"format": "conll"}}}, "per_file.a.csv: format = 'conll'"),
        ({"per_file": []}, "per_file = []"),
        ({"files": {"a": {"url": "u", "rows": 1, "git_blob": "12"}}}, "files.a.git_blob"),
    ],
)
def test_invalid_definitions(changes, expected):
    with pytest.raises(ConfigError) as caught:
        make_task("reviews", REVIEWS | changes, "config/tasks/reviews.json")
    assert "config/tasks/reviews.json: " in str(caught.value).splitlines()[0]
    assert any(expected in line for line in str(caught.value).splitlines()[1:]), str(caught.value)


def test_reads_the_tasks_of_a_config_folder_beside_those_of_the_project(tmp_path):
    write(tmp_path, "reviews", {"definition": REVIEWS | {"order": 2}, "train_file": "train.tsv"})
    write(tmp_path, "nsmc", {"num_train_epochs": 3})  # only settings: the project defines the task
    tasks = read_tasks(tmp_path)
    assert list(tasks)[:3] == ["nsmc", "naver-ner", "reviews"]
    assert tasks["nsmc"] == TASKS["nsmc"]
    assert set(tasks) == {*TASKS, "reviews"}


def test_the_config_folder_of_the_project_adds_nothing():
    assert read_tasks(ROOT / "config") == read_tasks() == TASKS


@pytest.mark.parametrize("content", ["{", "[]", '{"definition": []}', '{"definition": {"kind": "x"}}', "\udcff"])
def test_a_broken_file_affects_its_task_alone(tmp_path, content, caplog):
    path = write(tmp_path, "good", {"definition": REVIEWS}).with_name("broken.json")
    path.write_bytes(content.encode("utf-8", "surrogateescape"))
    assert set(read_tasks(tmp_path)) == {*TASKS, "good"}
    assert str(path) in caplog.text and "broken is left out" in caplog.text


@pytest.mark.parametrize("place", ["seed-1", "tune/trial-0"])
def test_a_task_that_a_run_or_a_trial_has_recorded(tmp_path, place):
    record = tmp_path / "model" / "reviews" / place / "settings.json"
    record.parent.mkdir(parents=True)
    record.write_text(json.dumps({"definition": REVIEWS}))
    shutil.copytree(record.parent, tmp_path / "model" / "nsmc" / "seed-1")  # a task of the project keeps its definition
    (tmp_path / "model" / "broken" / "seed-1").mkdir(parents=True)
    (tmp_path / "model" / "broken" / "seed-1" / "settings.json").write_text("{")
    assert recorded_tasks(tmp_path) == {**TASKS, "reviews": make_task("reviews", REVIEWS, "")}
