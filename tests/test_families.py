"""The contract: every family of models does every task, and its checkpoints load again and score the same."""

import shutil

import numpy as np
import pytest

from processor import TASKS, ner, seq_cls, squad
from processor.data_files import describe_files
from processor.download import find_files
from src.evaluate import predict
from src.finetune import load_checkpoint
from src.models import load_tokenizer
from src.pipeline import run_task
from src.run_status import read_settings
from tests.families import FAMILIES, make_family

LOADERS = {"run_seq_cls.py": seq_cls.load_split, "run_ner.py": ner.load_split, "run_squad.py": squad.load_split}
PAIRS = [(family, task) for family in FAMILIES for task in TASKS]
# One task for each family, and among them every task.
DIAGONAL = {(family, list(TASKS)[number % len(TASKS)]) for number, family in enumerate(FAMILIES)}


def require_gcc(family):
    if family == "hanbert" and not shutil.which("gcc"):
        pytest.skip("needs gcc, to build a stand-in for HanBERT's native analyser")


def test_all_pairs_are_there():
    assert len(PAIRS) == len(FAMILIES) * 8 == 96
    assert {family for family, _ in DIAGONAL} == set(FAMILIES)
    assert {task for _, task in DIAGONAL} == set(TASKS)


@pytest.mark.parametrize(
    ("family", "task"), [pytest.param(*pair, marks=() if pair in DIAGONAL else pytest.mark.long) for pair in PAIRS]
)
def test_trains_saves_loads_and_scores_the_same(settings, tmp_path, family, task):
    require_gcc(family)
    given = make_family(family, tmp_path / family)
    length = {"max_seq_len": 256 if TASKS[task].kind == "span" else 128}
    chosen = settings(task, max_steps=2, train_batch_size=4, eval_batch_size=256, **length, **given)
    row = TASKS[task]
    load = LOADERS[row.script]
    run_task(chosen, row, find_files(chosen), load)

    folder = chosen.run_folder / "checkpoint-2"
    again = read_settings(folder).model_copy(update={"trust_native_code": True})
    tokenizer, task_model = load_checkpoint(again, row, folder)
    file = describe_files({"test": chosen.data_files["test"]})["test"]
    split = load("test", file, again.model_copy(update={"feature_cache_dir": str(tmp_path / "other")}), row, tokenizer)
    outputs, loss = predict(task_model, split.features, again.evaluation_budget)
    before = load("test", file, chosen, row, load_tokenizer(chosen, word_level=row.kind in ("tagging", "span")))
    assert all(np.array_equal(split.features.tensors[name], tensor) for name, tensor in before.features.tensors.items())
    expected = dict(
        line.split(" = ") for line in (chosen.run_folder / "test" / "test-2.txt").read_text().split("\n\n")[0].split("\n  ")
    )
    expected = {name.strip(): float(value) for name, value in expected.items()}
    assert {**split.score(outputs), "loss": loss} == expected
