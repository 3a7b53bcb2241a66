"""Model cards, read back with the hub's own library."""

import re

import pytest
from huggingface_hub import ModelCard

from processor.definition import TASKS
from processor.kinds import KINDS
from src.runs import folder as run_folder
from src.runs.card import USES, Card, licence_notice
from src.runs.status import find_run
from tests.src.run_folders import FILES, end_process, save, save_state, start

COMMIT = "a" * 40


def read(run, step):
    """The metadata of a checkpoint's card and its text."""
    card = ModelCard.load(run.checkpoint_folder(step) / "README.md")
    return card.data, card.text


def scores_in(data):
    """The scores in the metadata of a card, by split and hub's name of the metric."""
    return {(result.dataset_split, result.metric_type): result.metric_value for result in data.eval_results or ()}


def make(task, scores=None, data=None, **record):
    """The card of a task whose data are one's own."""
    facts = {"file": f"/home/me/{task.title}.csv", "status": "other", "sha256": "1" * 64, "rows": 1234}
    settings = {"task": "own", "model_name_or_path": "org/model", "trust_native_code": False, "trust_remote_code": False}
    settings |= record.pop("settings", {})
    record = {
        "settings": settings,
        "seed": 7,
        "data": data or {"train": facts, "test": facts},
        "model_revision": COMMIT,
        **record,
    }
    return Card(record, task, 100, scores or {}, {})


def load(card):
    return ModelCard("\n".join(card.lines()))


def test_a_card_is_written_with_the_checkpoint_and_completed_with_its_scores(settings):
    run = start(settings)
    save(run, 5)
    weights = run.checkpoint_folder(5) / "model.safetensors"
    before = weights.stat().st_mtime_ns
    data, text = read(run, 5)
    assert (data.language, data.library_name, data.pipeline_tag) == ("ko", "transformers", "text-classification")
    assert data.eval_results is None and "Not scored" in text

    run.add_scores(5, "dev", {"acc": 0.75, "loss": 1.5})
    assert scores_in(read(run, 5)[0]) == {("dev", "accuracy"): 0.75}
    run.add_scores(5, "test", {"acc": 0.5, "loss": 2.5}, cautions=["too few rows"])
    data, text = read(run, 5)
    assert scores_in(data) == {("dev", "accuracy"): 0.75, ("test", "accuracy"): 0.5}
    assert "| acc | 0.7500 | 0.5000 |" in text and "| loss | 1.5000 | 2.5000 |" in text
    assert "Caution, test: too few rows." in text
    assert (weights.read_text(), weights.stat().st_mtime_ns) == ("5", before)
    run.add_scores(6, "dev", {"acc": 0.7})  # not saved
    assert not run.checkpoint_folder(6).exists()


def test_scores_known_when_a_checkpoint_is_saved_are_in_its_card(settings):
    run = start(settings)
    save(run, 5, dev=0.5)
    assert scores_in(read(run, 5)[0]) == {("dev", "accuracy"): 0.5}


def test_a_run_killed_while_a_card_is_completed_completes_it(settings, monkeypatch):
    run = start(settings)
    save_state(run, 5)
    save(run, 5)

    def kill(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(run_folder, "write_card", kill)
        run.add_scores(5, "dev", {"acc": 0.5})
    end_process(run)
    again = find_run(settings(), TASKS["nsmc"], FILES)
    assert again.state == "resume"
    again.rewind(5)
    assert again.unscored() == [(5, ["dev", "test"])]  # computed again, and then written into the card


def test_names_base_model_seed_data_and_licence():
    task = TASKS["korquad"]
    data = {
        "train": {"file": "/home/me/train.json", "status": "published", "sha256": "1" * 64, "rows": 57000},
        "dev": {"file": "/home/me/train.json", "status": "published", "sha256": "1" * 64, "rows": 3000, "held_out": 0.05},
        "test": {"file": "data/korquad/dev.json", "status": "published", "sha256": "2" * 64, "rows": 5774},
    }
    scores = {split: {"exact_match": 80.5, "f1": 90.25, "loss": 1.0} for split in ("dev", "test")}
    card = load(make(task, scores, data, version="1.2.3"))
    assert (card.data.base_model, card.data["base_model_revision"]) == ("org/model", COMMIT)
    assert card.data.pipeline_tag == "question-answering"
    names = {
        (result.dataset_name, result.dataset_split, result.dataset_config, result.metric_type)
        for result in card.data.eval_results
    }
    held_out = "KorQuAD (the published file, 0.05 of it, held out of train)"
    assert names == {
        (*data, metric)
        for data in (("KorQuAD", "dev", None), (held_out, "dev", "held out of train"))
        for metric in ("exact_match", "f1")
    }
    for fact in ("| seed | 7 |", f"org/model, commit {COMMIT}", task.source, task.licence, "1.2.3", "| EM | 80.5000 | 80.5000 |"):
        assert fact in card.text, fact
    assert f"| dev | train.json | 3,000 | `{'1' * 64}` | the published file, 0.05 of it, held out of train |" in card.text
    assert "selected by their score on dev" in card.text
    assert "/home/me" not in card.content


def test_a_local_model_is_no_base_model_of_the_hub():
    card = load(make(TASKS["nsmc"], model_revision=None, settings={"model_name_or_path": "/home/me/my-model"}))
    assert card.data.base_model is None
    assert "my-model, a local folder" in card.text and "/home/me" not in card.content


def test_a_task_of_ones_own_may_have_any_title_and_no_licence():
    task = TASKS["nsmc"].model_copy(
        update={"title": 'A | B: "c"\n---\n# d\u2028e', "licence": "", "source": "", "texts_may_be_shown": False}
    )
    card = load(make(task, {"test": {"acc": 0.5}}))
    assert card.data.eval_results[0].dataset_name == f"{task.title} (not a published file)"
    assert r"# model fine-tuned on A \| B" in card.text.replace("org/", "") and "\n# d" not in card.text
    assert "source of the data" not in card.text
    assert "not known to allow" in licence_notice(task) and "not recorded" in licence_notice(task)
    assert "not known to allow" not in licence_notice(TASKS["nsmc"])


def test_scores_that_are_no_numbers_are_not_in_the_metadata():
    card = load(make(TASKS["korquad"], {"test": {"exact_match": float("nan"), "f1": 50.0}}))
    assert scores_in(card.data) == {("dev", "f1"): 50.0}


def test_every_kind_of_task_has_its_use():
    assert USES.keys() == KINDS.keys()
    kinds = {task.kind: task for task in TASKS.values()}
    for kind, task in kinds.items():
        text = load(make(task)).text
        assert re.search(r"echo '\{\"\w+\": .*\}' \| python3 predict.py --checkpoint FOLDER\n", text), kind
        assert ("pipeline(" in text) == (kind not in ("span", "multiple_choice"))


def test_code_that_must_be_trusted_is_named():
    native = load(make(TASKS["nsmc"], settings={"trust_native_code": True})).text
    assert "--checkpoint FOLDER --trust_native_code" in native and "pipeline(" not in native
    remote = load(make(TASKS["nsmc"], settings={"trust_remote_code": True})).text
    assert "--checkpoint FOLDER --trust_remote_code" in remote and "trust_remote_code=True" in remote
    assert "--tuned_file" not in load(make(TASKS["nsmc"], settings={"tuned_file": "config/tuning/tiny.nsmc.json"})).text
