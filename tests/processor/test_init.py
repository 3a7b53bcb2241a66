import json

from processor import TASKS, tasks_of
from src.heads import HEADS
from src.metrics import METRICS
from tests.conftest import ROOT


def test_every_row_of_the_table_names_things_that_exist():
    seen = 0
    for name, task in TASKS.items():
        seen += 1
        assert (ROOT / "config" / "tasks" / f"{name}.json").is_file()
        assert (ROOT / task.script).is_file()
        assert set(task.text_columns) | {task.label_column} <= set(task.columns)
        assert task.kind in HEADS
        assert task.metric in METRICS
        assert (task.labels is None) == bool(HEADS[task.kind].outputs)
    assert seen == 8


def test_every_task_has_its_settings_and_published_files():
    files = json.loads((ROOT / "processor" / "data_files.json").read_text())["files"]
    tasks = {path.stem: json.loads(path.read_text()) for path in (ROOT / "config" / "tasks").glob("*.json")}
    named = {f"{task}/{value}" for task, values in tasks.items() for key, value in values.items() if key.endswith("_file")}
    assert len(tasks) == 8
    assert named == set(files)


def test_every_corpus_has_its_address_and_licence_in_the_data_s_description():
    text = (ROOT / "data" / "README.md").read_text()
    for task in TASKS.values():
        assert task.address.startswith("https://")
        assert task.licence in text, task.title


def test_the_meaning_of_the_labels():
    assert len(TASKS["naver-ner"].labels) == 29
    assert list(TASKS["naver-ner"].labels.items())[:3] == [("O", "O"), ("PER-B", "B-PER"), ("PER-I", "I-PER")]
    assert TASKS["question-pair"].labels == {"0": "same", "1": "different"}
    assert list(TASKS["kornli"].labels) == ["contradiction", "entailment", "neutral"]
    assert sorted([*tasks_of("run_seq_cls.py"), *tasks_of("run_ner.py"), *tasks_of("run_squad.py")]) == sorted(TASKS)
    assert " ".join(TASKS) == "nsmc naver-ner paws kornli korsts question-pair korquad hate-speech"  # the published columns
