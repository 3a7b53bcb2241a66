import filecmp
import json
import subprocess
import sys

import pytest

from processor.definition import TASKS, tasks_of
from processor.ner import read_sentences
from processor.seq_cls import read_examples
from tests.conftest import ROOT, SAMPLE, SAMPLED_TASKS


def test_make_sample_writes_the_same_bytes(tmp_path):
    for folder, hash_seed in (("a", "0"), ("b", "1")):
        script = [sys.executable, str(SAMPLE / "make_sample.py"), str(tmp_path / folder)]
        subprocess.run(script, check=True, env={"PYTHONHASHSEED": hash_seed})
        made = sorted(path.relative_to(tmp_path / folder) for path in (tmp_path / folder).rglob("*") if path.is_file())
        committed = sorted(
            path.relative_to(SAMPLE)
            for path in SAMPLE.rglob("*")
            if path.is_file() and path.suffix not in (".py", ".pyc") and not {"own", "reviews.csv"} & set(path.parts)  # by hand
        )
        assert made == committed
        _, differ, errors = filecmp.cmpfiles(tmp_path / folder, SAMPLE, made, shallow=False)
        assert (differ, errors) == ([], [])


@pytest.mark.parametrize("task", [task for task in tasks_of("run_seq_cls.py") if task in SAMPLED_TASKS])
def test_rows_are_well_formed_and_balanced(task):
    files = json.loads((ROOT / "config" / "tasks" / f"{task}.json").read_text())
    for name in (value for key, value in files.items() if key.endswith("_file")):
        examples, _ = read_examples(SAMPLE / task / name, TASKS[task])
        assert len(examples) >= 100
        if labels := TASKS[task].labels:
            counts = [sum(example.label == label for example in examples) for label in labels]
            assert max(counts) - min(counts) <= 1


def test_most_test_rows_are_not_train_rows():
    train, test = (read_examples(SAMPLE / "korsts" / f"sts-{split}.tsv", TASKS["korsts"])[0] for split in ("train", "test"))
    assert len({example.texts for example in train} & {example.texts for example in test}) < len(test) / 2


def test_the_tagged_sample_has_every_entity_type():
    entity_types = {tag.split("-")[0] for tag in TASKS["naver-ner"].labels}
    assert len(entity_types) == 1 + 14
    for name in ("train.tsv", "test.tsv"):
        sentences = read_sentences(SAMPLE / "naver-ner" / name, TASKS["naver-ner"])
        assert len(sentences) >= 100
        assert {tag.split("-")[0] for sentence in sentences for tag in sentence.tags} == entity_types
