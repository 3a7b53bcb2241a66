import json

from processor import ENTITY_TYPES, TASKS, tasks_of
from processor.kinds import KINDS
from src.heads import HEADS
from src.metrics import METRICS
from tests.conftest import ROOT, SAMPLED_TASKS


def test_every_task_refers_to_existing_things():
    for name, task in TASKS.items():
        assert (ROOT / "config" / "tasks" / f"{name}.json").is_file()
        assert (ROOT / task.script).is_file()
        assert set(task.text_columns) | {task.label_column} <= set(task.columns)
        assert task.kind in HEADS and task.kind in KINDS
        assert task.metric in METRICS
        assert (task.labels is None) == bool(HEADS[task.kind].outputs)


def test_every_task_has_its_settings_and_published_files():
    files = json.loads((ROOT / "processor" / "data_files.json").read_text())["files"]
    tasks = {path.stem: json.loads(path.read_text()) for path in (ROOT / "config" / "tasks").glob("*.json")}
    assert set(tasks) == set(TASKS)
    named = {f"{task}/{tasks[task][key]}" for task in SAMPLED_TASKS for key in tasks[task] if key.endswith("_file")}
    assert named == set(files)


def test_data_readme_lists_every_licence():
    text = (ROOT / "data" / "README.md").read_text()
    for task in map(TASKS.get, SAMPLED_TASKS):
        assert task.address.startswith("https://")
        assert task.licence in text, task.title


def test_labels_and_order_of_tasks():
    assert len(TASKS["naver-ner"].labels) == 1 + 2 * len(ENTITY_TYPES)
    assert list(TASKS["naver-ner"].labels.items())[:3] == [("O", "O"), ("PER-B", "B-PER"), ("PER-I", "I-PER")]
    assert TASKS["question-pair"].labels == {"0": "same", "1": "different"}
    assert list(TASKS["kornli"].labels) == ["contradiction", "entailment", "neutral"]
    assert sorted([*tasks_of("run_seq_cls.py"), *tasks_of("run_ner.py"), *tasks_of("run_squad.py")]) == sorted(TASKS)
    assert (
        " ".join(SAMPLED_TASKS) == "nsmc naver-ner paws kornli korsts question-pair korquad hate-speech"
    )  # the published columns
