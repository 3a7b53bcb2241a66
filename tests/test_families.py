"""Every model family runs every task, and its checkpoints load again and score the same."""

import shutil

import numpy as np
import pytest

from processor.data_files import describe_files
from processor.definition import TASKS
from processor.kinds import load_split
from src.model.load import load_tokenizer
from src.pipeline import find_files, run_task
from src.runs.files import read_settings
from src.training.evaluate import predict
from src.training.finetune import load_checkpoint
from tests.conftest import SAMPLED_TASKS
from tests.families import FAMILIES, make_family

PAIRS = [(family, task) for family in FAMILIES for task in SAMPLED_TASKS]
# One task per family, covering every task.
DIAGONAL = {(family, SAMPLED_TASKS[number % len(SAMPLED_TASKS)]) for number, family in enumerate(FAMILIES)}


def require_gcc(family):
    if family == "hanbert" and not shutil.which("gcc"):
        pytest.skip("needs gcc, to build a stand-in for HanBERT's native analyser")


def test_the_short_tests_cover_every_family_and_task():
    assert {family for family, _ in DIAGONAL} == set(FAMILIES)
    assert {task for _, task in DIAGONAL} == set(SAMPLED_TASKS)


@pytest.mark.parametrize(
    ("family", "task"), [pytest.param(*pair, marks=() if pair in DIAGONAL else pytest.mark.long) for pair in PAIRS]
)
def test_trains_saves_loads_and_scores_the_same(settings, tmp_path, family, task):
    require_gcc(family)
    given = make_family(family, tmp_path / family)
    row = TASKS[task]
    given["max_seq_len"] = 256 if row.kind == "span" else 128
    chosen = settings(task, max_steps=2, train_batch_size=4, eval_batch_size=256, **given)
    run_task(chosen, row, find_files(chosen, row), load_split)

    folder = chosen.run_folder / "checkpoint-2"
    again = read_settings(folder).model_copy(update={"trust_native_code": True})
    tokenizer, task_model = load_checkpoint(again, row, folder)
    file = describe_files({"test": chosen.data_files["test"]})["test"]
    split = load_split("test", file, again.model_copy(update={"feature_cache_dir": str(tmp_path / "other")}), row, tokenizer)
    outputs, loss = predict(task_model, split.features, again.evaluation_budget)
    before = load_split("test", file, chosen, row, load_tokenizer(chosen, word_level=row.kind in ("tagging", "span")))
    assert all(np.array_equal(split.features.tensors[name], tensor) for name, tensor in before.features.tensors.items())
    score_lines = (chosen.run_folder / "test" / "test-2.txt").read_text().split("\n\n")[0].splitlines()
    expected = {name.strip(): float(value) for name, value in (line.split(" = ") for line in score_lines)}
    assert {**split.score(split.decode(outputs)), "loss": loss} == expected
