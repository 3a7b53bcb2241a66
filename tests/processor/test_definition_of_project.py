from processor.definition import TASKS, tasks_of
from processor.kinds import KINDS
from src.metrics.metrics import METRICS
from src.model.heads import HEADS
from tests.conftest import ROOT, SAMPLED_TASKS


def test_every_task_refers_to_existing_things():
    for name, task in TASKS.items():
        assert (ROOT / "config" / "tasks" / f"{name}.json").is_file()
        assert (ROOT / task.script).is_file()
        assert task.kind in HEADS and task.kind in KINDS
        assert task.metric in METRICS
        assert (task.labels is None) == (not KINDS[task.kind].labelled)


def test_every_task_has_its_settings_and_published_files(settings):
    for name in SAMPLED_TASKS:
        files = settings(name, data_dir=ROOT).data_files.values()
        assert {path.name for path in files} == set(TASKS[name].files)


def test_data_readme_lists_every_licence():
    text = (ROOT / "data" / "README.md").read_text()
    for task in map(TASKS.get, SAMPLED_TASKS):
        assert task.source.startswith("https://")
        assert task.licence in text, task.title


def test_labels_and_order_of_tasks():
    assert len(TASKS["naver-ner"].labels) == 1 + 2 * 14
    assert list(TASKS["naver-ner"].labels.items())[:3] == [("O", "O"), ("PER-B", "B-PER"), ("PER-I", "I-PER")]
    assert all(name == "-".join(reversed(tag.split("-"))) for tag, name in TASKS["naver-ner"].labels.items())
    assert TASKS["question-pair"].labels == {"0": "same", "1": "different"}
    assert list(TASKS["kornli"].labels) == ["contradiction", "entailment", "neutral"]
    assert sorted([*tasks_of("run_seq_cls.py"), *tasks_of("run_ner.py"), *tasks_of("run_squad.py")]) == sorted(TASKS)
    assert (
        " ".join(SAMPLED_TASKS) == "nsmc naver-ner paws kornli korsts question-pair korquad hate-speech"
    )  # the published columns
