"""Nothing that scoring, reporting or writing predictions raises costs trained weights, whatever the kind of task."""

import dataclasses
import json
from pathlib import Path

import pytest

from processor.character_tagging import CharacterSplit
from processor.data_files import describe_files
from processor.definition import TASKS
from processor.kinds import KINDS, load_split
from processor.squad import SquadSplit
from src.common.errors import ScoringError
from src.metrics import metrics
from src.pipeline import run_task
from src.training.state import TrainState
from src.training.state_file import read_state
from tests.conftest import SAMPLE

TASK_OF_KIND = {
    "classification": "nsmc",
    "multi_label": "nsmc",
    "regression": "korsts",
    "multiple_choice": "paws",
    "tagging": "naver-ner",
    "character_tagging": "naver-ner",
    "span": "korquad",
}
MORE = {
    "metric": "choice_f1",
    "headline": "f1",
    "text": ("sentence1",),
    "choices": ("sentence1", "sentence2"),
    "placeholder": None,
}
CHOICES = TASKS["paws"].model_copy(update={"kind": "multiple_choice", **MORE})
# Its files are those of the sample by character, see `by_character`.
CHARACTERS = TASKS["naver-ner"].model_copy(
    update={"kind": "character_tagging", "metric": "character_f1", "headline": "char_f1", "reported": ()}
)
SEVERAL = TASKS["nsmc"].model_copy(update={"kind": "multi_label", "metric": "multi_label_f1", "headline": "micro_f1"})
PLAN = {"max_steps": 5, "logging_steps": 2, "save_steps": 3, "evaluate_test_during_training": False}


@pytest.fixture
def updates(monkeypatch):
    """The steps that are trained."""
    steps, advance = [], TrainState.advance

    def count(state):
        advance(state)
        steps.append(state.step)

    monkeypatch.setattr(TrainState, "advance", count)
    return steps


def task_of(kind):
    others = {"multi_label": SEVERAL, "multiple_choice": CHOICES, "character_tagging": CHARACTERS}
    return others.get(kind) or TASKS[TASK_OF_KIND[kind]]


def run(settings, kind, output_dir, **changes):
    name = TASK_OF_KIND[kind]
    dev = {} if name in ("korsts", "paws") else {"dev_ratio": 0.2}  # all have a dev split: test is first scored with a checkpoint
    chosen = settings(task=name, output_dir=output_dir, **PLAN | dev | changes)
    if kind == "character_tagging":
        chosen = chosen.model_copy(update={"data_dir": by_character(Path(chosen.ckpt_dir).parent)})
    run_task(chosen, task_of(kind), describe_files(chosen.data_files), load_split)
    return chosen.run_folder


def by_character(folder):
    """Write the sample of Naver NER with a tag for each character of a sentence, without spaces; return the folder."""
    (folder / "naver-ner").mkdir(exist_ok=True)
    for name in ("train.tsv", "test.tsv"):
        rows = []
        for row in (SAMPLE / "naver-ner" / name).read_text(encoding="utf-8").splitlines():
            words, tags = (column.split(" ") for column in row.split("\t"))
            pairs = [(word, tag, tag.replace("-B", "-I")) for word, tag in zip(words, tags, strict=True)]
            of_characters = [tag for word, first, next_ in pairs for tag in [first, *[next_] * (len(word) - 1)]]
            rows.append(f"{''.join(words)}\t{' '.join(of_characters)}")
        (folder / "naver-ner" / name).write_text("\n".join(rows) + "\n", encoding="utf-8")
    return str(folder)


def fail(*arguments):
    raise IndexError("a bug")


@pytest.mark.parametrize(
    "kind", [kind if kind in ("classification", "span") else pytest.param(kind, marks=pytest.mark.long) for kind in KINDS]
)
def test_training_is_kept_if_scoring_fails(settings, monkeypatch, updates, kind):
    """First the metric fails, then decoding, the report ...; with all of them corrected the run ends as usual."""
    for split in (SquadSplit, CharacterSplit):
        monkeypatch.setattr(split, "upper_bound", {})  # scores, too, but before training
    name = TASK_OF_KIND[kind]
    expected = json.loads((run(settings, kind, "undisturbed") / "eval_results.json").read_text())
    assert updates == [1, 2, 3, 4, 5]
    updates.clear()
    split, metric = KINDS[kind].split, task_of(kind).metric
    folder = settings(task=name, output_dir="run", **PLAN).run_folder

    def failing_run():
        with pytest.raises(ScoringError, match=rf"IndexError: a bug.*{folder}"):
            run(settings, kind, "run")

    with monkeypatch.context() as patch:
        patch.setitem(metrics.METRICS, metric, dataclasses.replace(metrics.METRICS[metric], compute=fail))
        failing_run()
    assert updates == [1, 2]
    assert read_state(folder / "resume" / "state.safetensors")["step"] == 2
    for method, steps in (("decode", [1, 2]), ("report", [1, 2]), ("cautions", [1, 2]), ("predictions", [1, 2, 3])):
        with monkeypatch.context() as patch:
            patch.setattr(split, method, fail)
            failing_run()
        assert updates == steps
    assert (folder / "checkpoint-3" / "model.safetensors").is_file()
    run(settings, kind, "run")
    assert updates == [1, 2, 3, 4, 5]
    assert json.loads((folder / "eval_results.json").read_text()) == expected


def test_training_is_kept_if_the_scoring_of_checkpoints_fails(settings, monkeypatch, updates):
    """The last stage: training is finished, test is scored by the best checkpoint alone."""
    changes = {"eval_all_checkpoints": False}
    with monkeypatch.context() as patch:
        patch.setattr(KINDS["classification"].split, "predictions", fail)
        with pytest.raises(ScoringError, match=r"step [35] .* on test"):
            run(settings, "classification", "run", **changes)
    folder = run(settings, "classification", "run", **changes)
    assert updates == [1, 2, 3, 4, 5]
    assert (folder / "eval_results.json").is_file()
