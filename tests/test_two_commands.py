"""From a file to predictions in two commands: the files of data/sample/own, and Parquet, with the flags that the README names."""

import csv
import json

import pyarrow as pa
import pytest
from pyarrow import parquet

from tests.commands import run_script
from tests.conftest import SAMPLE

OWN = SAMPLE / "own"
TOPICS = ["IT과학", "경제", "사회", "생활문화", "세계", "스포츠", "정치"]
GENRES = ["로맨스", "액션", "코미디"]
PREFIXED = ["O", "B-DAT", "B-LOC", "B-ORG", "B-PER", "I-DAT", "I-LOC", "I-ORG"]
SUFFIXED = ["O", "DAT-B", "DAT-I", "LOC-B", "LOC-I", "ORG-B", "ORG-I", "PER-B"]
SYNOPSIS = "--kind multi_label --text_column synopsis"
FILM_OBJECTS = "--kind multi_label --text_column film.synopsis --label_column genres"
SCORES = "--kind regression --text_column sentence1 --text_pair_column sentence2 --label_column labels.real-label"
REVIEW, FILM = {"review": "편하다,\n아주"}, {"synopsis": "형사가\n웃는다"}

# The file and the flags of training, the labels in the order of ids, an input of predict.py, and a key of its result.
CASES = {
    "quoted line breaks": ("reviews.csv", "--text_column review --label_column stars", ["1", "2", "3"], REVIEW, "label"),
    "seven Korean labels": ("topics.jsonl", "--text_column title --label_column topic", TOPICS, {"text": "환율"}, "label"),
    "labels with a separator": ("films.csv", f"{SYNOPSIS} --label_column genres", GENRES, FILM, "labels"),
    "a column for each label": ("films.csv", f"{SYNOPSIS} --label_column 코미디,액션", ["코미디", "액션"], FILM, "labels"),
    "labels in a list": ("films.jsonl", f"{SYNOPSIS} --label_column genres", GENRES, {"text": "가"}, "labels"),
    "scores of pairs": ("pairs.json", SCORES, None, {"text": "비가 온다", "pair": "비가 내린다"}, "score"),
    "tags B-PER": ("tags.conll", "", PREFIXED, {"words": ["#여행", "부산"]}, "tags"),
    "tags PER-B": ("tags-suffix.conll", "", SUFFIXED, {"words": ["#여행", "부산"]}, "tags"),
    "two answers per question": ("reading.json", "", None, {"question": "누구?", "context": "그는 화가다."}, "answer"),
    "parquet": ("films.parquet", FILM_OBJECTS, GENRES, {"text": "가"}, "labels"),
}
SCRIPTS = {"tags": "run_ner.py", "answer": "run_squad.py"}


def path_of(name, folder):
    """Return the path of a file of the sample, or of one that this writes: films.parquet has a column of objects."""
    if not name.endswith(".parquet"):
        return OWN / name
    records = [json.loads(line) for line in (OWN / "films.jsonl").read_text(encoding="utf-8").splitlines()]
    films = [{"film": {"synopsis": record["synopsis"], "poster": b"\xff"}, "genres": record["genres"]} for record in records]
    parquet.write_table(pa.Table.from_pylist(films), folder / name, row_group_size=5)
    return folder / name


def predict(checkpoint, given, is_csv, folder):
    """Return the result of predict.py for an input, which is a row of a CSV file or a line of JSON."""
    if not is_csv:
        done = run_script("predict.py", "--checkpoint", str(checkpoint), stdin=json.dumps(given))
        return json.loads(done.stdout)
    with open(folder / "new.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["id", *given], ["7", *given.values()]])
    files = ["--input", str(folder / "new.csv"), "--output", str(folder / "predicted.csv")]
    run_script("predict.py", "--checkpoint", str(checkpoint), *files)
    with open(folder / "predicted.csv", newline="", encoding="utf-8") as file:
        (row,) = csv.DictReader(file)
    assert {"id": "7", **given}.items() <= row.items()
    return row | ({"labels": json.loads(row["labels"])} if "labels" in row else {})


@pytest.mark.parametrize("case", CASES)
def test_trains_and_predicts(tmp_path, case):
    name, flags, labels, given, key = CASES[case]
    flags = ["--task", "own", "--train_file", str(path_of(name, tmp_path)), "--test_ratio", "0.3", *flags.split()]
    places = ["--ckpt_dir", str(tmp_path / "ckpt"), "--feature_cache_dir", str(tmp_path / "cache")]
    done = run_script(SCRIPTS.get(key, "run_seq_cls.py"), *flags, "--config_file", "tiny.json", "--max_steps", "2", *places)
    assert done.returncode == 0, done.stderr
    run = tmp_path / "ckpt" / "tiny-own-ckpt"
    record = json.loads((run / "settings.json").read_text())
    assert list(record["definition"].get("labels", ())) == list(labels or ())
    assert record["data"]["test"]["held_out"] == 0.3
    rows = {split: record["data"][split]["rows"] for split in ("train", "test")}
    predictions = (run / "test" / "predictions-2.tsv").read_text(encoding="utf-8").split("\n")[1:-1]
    assert 0 < rows["test"] == len({line.split("\t")[0] for line in predictions}) < rows["train"]
    if key == "answer":
        assert {len(json.loads(line.split("\t")[2])) for line in predictions} == {2}  # answers of a question

    result = predict(run / "checkpoint-2", given, name.endswith(".csv"), tmp_path)
    assert key in result
    if labels:
        assert ({result["label"]} if key == "label" else set(result[key])) <= set(labels)
