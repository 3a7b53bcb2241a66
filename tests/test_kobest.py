"""KoBEST and the community suite, which are nothing but files in config/tasks: their definitions, and the real rows."""

import csv
import json
import shutil

import numpy as np
import pytest
from sklearn.metrics import f1_score

from processor.data_files import describe_files, git_blob
from processor.definition import TASKS, named_files
from processor.kinds import load_split
from processor.seq_cls import read_rows
from src.metrics.metrics import METRICS
from src.model.load import load_tokenizer
from src.settings.layers import load_settings
from tests.commands import run_script
from tests.conftest import ROOT

FOLDERS = {
    "boolq": "kobest/BoolQ", "copa": "kobest/COPA", "wic": "kobest/WiC", "hellaswag": "kobest/HellaSwag",
    "sentineg": "kobest/SentiNeg", "kmhas": "community/kmhas", "kote": "community/kote", "sib200-ko": "community/sib200-ko",
    "apeach": "community/apeach", "3i4k": "community/3i4k",
}  # fmt: skip
KOBEST, COMMUNITY = list(FOLDERS)[:5], list(FOLDERS)[5:]
BEEP = "standin/hate-speech"  # the training file of apeach
# task -> columns of texts and label, whether quotes are those of CSV; plain files for everything else
COLUMNS = {
    "boolq": ("Text Question", "Answer", False),
    "copa": ("sentence question 1 2", "Answer", False),
    "wic": ("SENTENCE1 SENTENCE2", "ANSWER", False),
    "hellaswag": ("context choice1 choice2 choice3 choice4", "label", True),
    "sentineg": ("Text", "Label", False),
    "kmhas": ("document", "label", True),
    "kote": ("1", "2", True),
    "sib200-ko": ("text", "category", True),
    "apeach": ("text", "class", True),
    "3i4k": ("1", "0", False),
}


@pytest.fixture
def real(shared):
    """real(task) returns the file of each split that is at hand."""

    def find(task):
        folders = [shared / "data" / FOLDERS[task], *([shared / "data" / BEEP] if task == "apeach" else [])]
        named = named_files(task)
        return {split: folder / file for split, file in named.items() for folder in folders if (folder / file).is_file()}

    return find


def plain_rows(path, task):
    """Return the texts and the label of each row, read in the simplest way."""
    texts, label, quoted = COLUMNS[task]
    text = path.read_bytes().decode()
    if quoted:
        rows = list(csv.reader(text.splitlines(True), delimiter="," if path.suffix == ".csv" else "\t"))
    else:
        rows = [line.removesuffix("\r").split("\t") for line in text.removesuffix("\n").split("\n")]
    names = [str(number) for number in range(9)] if texts == "1" else rows.pop(0)
    return [(tuple(row[names.index(name)] for name in texts.split()), row[names.index(label)]) for row in rows]


def test_the_suites():
    for suite, names in (("kobest", KOBEST), ("community", COMMUNITY)):
        assert [name for name, task in TASKS.items() if task.suite == suite] == names
    for name in FOLDERS:
        task = TASKS[name]
        assert {*named_files(name).values()} == task.files.keys()
        assert task.source.startswith("https://") and task.licence and task.texts_may_be_shown
        assert all(
            f"/{file.url.split('/')[5]}/" in file.url and len(file.url.split("/")[5]) == 40 for file in task.files.values()
        )
        assert set(task.scores) <= set(METRICS[task.metric].weighted)
    assert all(TASKS[name].headline == "f1" for name in KOBEST)
    assert not any(column in "Dictionary 1 Link 1 Dictionary 2 Link2 Target" for column in TASKS["wic"].texts)


@pytest.mark.parametrize("name", KOBEST)
def test_the_recipe_of_klue_baseline(name):
    settings = load_settings(["--task", name, "--config_file", "klue-bert-base.json"], script="run_seq_cls.py", tasks=TASKS)
    epochs = {"sentineg": 3}.get(name, 5)  # as YNAT for single texts, as KLUE-NLI for pairs
    assert (settings.train_batch_size, settings.learning_rate, settings.warmup_proportion) == (32, 5e-5, 0.1)
    assert (settings.num_train_epochs, settings.weight_decay) == (epochs, 0.0)
    rows = next(file.rows for path, file in TASKS[name].files.items() if path == settings.train_file)
    assert settings.logging_steps == settings.save_steps == pytest.approx(rows / 32 / 4, rel=0.1)  # four scorings per epoch


@pytest.mark.parametrize("name", FOLDERS)
def test_real_rows_are_read_as_they_are(real, name):
    task, files = TASKS[name], real(name)
    assert files
    for split, path in files.items():
        assert git_blob(path.read_bytes()) == task.files[path.name].git_blob or (name, split) == ("apeach", "train")
        rows = read_rows(path, task)
        if path.name in task.per_file:  # the hate-speech corpus as two classes
            lines = path.read_text(encoding="utf-8").removesuffix("\n").split("\n")[1:]
            expected = [(line.split("\t")[1], "Default" if line.split("\t")[3] == "none" else "Spoiled") for line in lines]
            assert [(*row.texts, *row.labels) for row in rows] == expected
            continue
        assert len(rows) == task.files[path.name].rows
        expected = plain_rows(path, name)
        assert [row.texts for row in rows] == [texts for texts, _ in expected]
        labels = [tuple(label.split(",")) if task.kind == "multi_label" else (label.title(),) for _, label in expected]
        if name in ("sib200-ko", "apeach"):
            labels = [(label,) for _, label in expected]
        assert [row.labels for row in rows] == labels


def test_the_data_check_finds_what_the_corpora_repeat(shared, tmp_path):
    names = ["boolq", "hellaswag", "3i4k"]
    for name in names:
        shutil.copytree(shared / "data" / FOLDERS[name], tmp_path / name)
    done = run_script("processor.check", *names, "--data_dir", str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert "duplicates: 137 rows repeat an earlier one" in done.stdout.split("hellaswag/train.tsv")[1]
    for line in (
        "9 texts are in hellaswag/train.tsv and in hellaswag/dev.tsv",
        "4 texts in the column Text are in boolq/train.tsv and in boolq/test.tsv",
        "581 texts are in 3i4k/fci_train_val.txt and in 3i4k/fci_test.txt (617 rows of it)",
    ):
        assert f"overlap: {line}" in done.stdout


def few(path, task, folder, rows):
    """Write the first rows of a real file."""
    shape = task.of_file(path)
    lines = path.read_bytes().decode().splitlines(True)
    reader = csv.reader(lines, delimiter=shape.delimiter) if shape.format == "csv" else iter(range(len(lines)))
    ends = [reader.line_num if shape.format == "csv" else line + 1 for line in reader]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / path.name).write_bytes("".join(lines[: ends[rows + shape.header - 1]]).encode())


@pytest.mark.parametrize("name", FOLDERS)
def test_real_rows_from_files_to_the_report(real, tmp_path, name):
    """A few updates on the first rows; K-MHaS and KOTE train on their dev file."""
    task = TASKS[name]
    for split, path in real(name).items():
        few(path, task, tmp_path / "data" / name, 60 if split == "train" else 40)
    names = named_files(name)
    missing = [] if (tmp_path / "data" / name / names["train"]).exists() else ["--train_file", names["dev"]]
    places = ["--data_dir", str(tmp_path / "data"), "--ckpt_dir", str(tmp_path), "--feature_cache_dir", str(tmp_path / "cache")]
    steps = ["--max_steps", "2", "--logging_steps", "2", "--save_steps", "2", "--output_dir", f"benchmark/tiny/{name}/seed-1"]
    flags = ["--task", name, "--config_file", "tiny.json", "--seed", "1", *places, *steps, *missing]
    done = run_script("run_seq_cls.py", *flags)
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "benchmark" / "tiny" / name / "seed-1"
    results = json.loads((folder / "eval_results.json").read_text())
    assert set(task.scores) <= results["selected"]["test"].keys()
    assert results["data"]["test"]["rows"] == 40
    if task.kind == "multiple_choice":
        lines = (folder / "test" / "predictions-2.tsv").read_text().splitlines()
        header, *rows = [line.split("\t") for line in lines]
        gold, predicted = (np.array([row[header.index(column)] for row in rows]) for column in ("label", "prediction"))
        expected = f1_score(gold, predicted, average="macro", zero_division=0)
        assert results["selected"]["test"]["f1"] == pytest.approx(expected)
    report = run_script("run_benchmark.py", "report", "--ckpt_dir", str(tmp_path))
    assert report.returncode == 0 and f"**{task.title}**" in report.stdout, report.stderr


def test_features_of_copa_are_pairs_made_by_the_tokenizer(real, settings, tmp_path):
    chosen = settings()
    tokenizer = load_tokenizer(chosen)
    file = describe_files({"dev": real("copa")["dev"]})["dev"]
    split = load_split("dev", file, chosen, TASKS["copa"], tokenizer)
    tensors, at = split.features.tensors, split.features.tensors["offsets"]
    for row, (texts, label) in enumerate(plain_rows(file.path, "copa")):
        assert tensors["labels"][row] == int(label) - 1
        for choice in (0, 1):
            expected = tokenizer(f"{texts[0]} {texts[1]}", texts[2 + choice])
            start, end = at[2 * row + choice : 2 * row + choice + 2]
            assert tensors["input_ids"][start:end].tolist() == expected["input_ids"]
            assert tensors["token_type_ids"][start:end].tolist() == expected["token_type_ids"]


def test_suites_and_tasks_in_one_grid(tmp_path):
    flags = ["--models", "tiny", "--tasks", "kobest,klue,nsmc", "--seeds", "1", "--ckpt_dir", str(tmp_path), "--dry_run"]
    done = run_script("run_benchmark.py", "run", *flags, "--data_dir", str(ROOT / "data" / "sample"))
    assert done.returncode == 0, done.stderr
    listed = [name for name in TASKS if f"--task {name} " in done.stdout]
    assert set(listed) == {name for name, task in TASKS.items() if task.suite in ("kobest", "klue")} | {"nsmc"}


def test_download_by_suite(shared, tmp_path):
    """From a mirror that has the folders of the suite."""
    for name in KOBEST:
        shutil.copytree(shared / "data" / FOLDERS[name], tmp_path / "mirror" / name)
    flags = ["--data_dir", str(tmp_path / "data"), "--data_url", str(tmp_path / "mirror")]
    done = run_script("processor.download", "kobest", *flags)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("  published ") == 15
