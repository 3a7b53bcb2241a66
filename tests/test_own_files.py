"""Own files in every format, from training to predict.py, by task files that name them. The files are in data/sample/own."""

import json

import pytest

from src.data import SCRIPTS
from tests.commands import run_forked
from tests.conftest import SAMPLE

OWN = SAMPLE / "own"
TOPICS = ["IT과학", "경제", "사회", "생활문화", "세계", "스포츠", "정치"]
TYPES = ["B-DAT", "B-LOC", "B-ORG", "B-PER", "I-DAT", "I-LOC", "I-ORG"]

REVIEWS = {"kind": "classification", "text": "review", "label": "stars"}
PAIRS = {"kind": "regression", "text": ["sentence1", "sentence2"], "label": "labels.real-label", "score_range": [0.0, 5.0]}
TITLES = {"kind": "classification", "text": "title", "label": "topic", "metric": "macro_f1"}
SUFFIX_LABELS = {"O": "O", "DAT-B": "B-DAT", "DAT-I": "I-DAT", "LOC-B": "B-LOC", "LOC-I": "I-LOC"} | {
    "ORG-B": "B-ORG", "ORG-I": "I-ORG", "PER-B": "B-PER",
}  # fmt: skip


@pytest.fixture
def train(tmp_path):
    """train(definition, file, ...) trains on a file with a task file of these settings; returns the process and the run."""

    def run(definition, file, *flags, **settings):
        (tmp_path / "config" / "tasks").mkdir(parents=True, exist_ok=True)
        content = {"definition": definition, "train_file": str(file), "max_seq_len": 32, "max_steps": 2} | settings
        (tmp_path / "config" / "tasks" / "own.json").write_text(json.dumps(content))
        places = [word for name in ("config", "ckpt") for word in (f"--{name}_dir", str(tmp_path / name))]
        model = ["--config_file", "config/tiny.json", "--feature_cache_dir", str(tmp_path / "cache")]
        done = run_forked(SCRIPTS[definition["kind"]], "--task", "own", *model, *places, *flags)
        return done, tmp_path / "ckpt" / "tiny-own-ckpt"

    return run


@pytest.mark.parametrize(
    ("definition", "file", "labels", "given", "key"),
    [
        (REVIEWS, "reviews.csv", {"1": "1", "2": "2", "3": "3"}, {"text": "손잡이가\n편하다"}, "label"),
        (TITLES, "topics.jsonl", {topic: topic for topic in TOPICS}, {"text": "환율이 올랐다"}, "label"),
        (PAIRS, "pairs.json", None, {"text": "비가 온다", "pair": "비가 내린다"}, "score"),
        ({"kind": "tagging"}, "tags.conll", {tag: tag for tag in ["O", *TYPES]}, {"words": ["#여행", "부산"]}, "tags"),
        ({"kind": "tagging"}, "tags-suffix.conll", SUFFIX_LABELS, {"words": ["#여행", "부산"]}, "tags"),
        ({"kind": "span"}, "reading.json", None, {"question": "누구?", "context": "김민준은 화가다."}, "answer"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_trains_scores_and_predicts(train, definition, file, labels, given, key):
    span = {"max_query_length": 8, "doc_stride": 8} if definition["kind"] == "span" else {}
    done, run = train(definition, OWN / file, test_ratio=0.3, **span)
    assert done.returncode == 0, done.stderr
    record = json.loads((run / "settings.json").read_text())
    assert json.dumps(record["definition"].get("labels")) == json.dumps(labels)  # in this order
    assert record["data"]["test"]["held_out"] == 0.3
    rows = {name: record["data"][name]["rows"] for name in ("train", "test")}
    predictions = (run / "test" / "predictions-2.tsv").read_text(encoding="utf-8").split("\n")[1:-1]
    counted = len({line.split("\t")[0] for line in predictions})
    assert 0 < rows["test"] == counted < rows["train"]
    if definition["kind"] == "span":
        assert {len(json.loads(line.split("\t")[2])) for line in predictions} == {2}  # answers of a question
    done = run_forked("predict.py", "--checkpoint", str(run / "checkpoint-2"), stdin=json.dumps(given))
    result = json.loads(done.stdout)
    assert key in result, done.stderr
    if labels:
        assert {result["label"]} if key == "label" else set(result["tags"]) <= set(labels)


def test_the_rows_held_out_depend_on_neither_seed_nor_dev_ratio(train):
    held_out = []
    for flags in ([], ["--seed", "7"], ["--dev_ratio", "0.3"]):
        done, run = train(REVIEWS, OWN / "reviews.csv", "--resume", "false", *flags, test_ratio=0.3)
        assert done.returncode == 0, done.stderr
        lines = (run / "test" / "predictions-2.tsv").read_text(encoding="utf-8").split("\n")
        held_out.append([line.split("\t")[1:3] for line in lines])
    assert held_out[0] == held_out[1] == held_out[2]
    assert {label for _, label in held_out[0][1:-1]} == {"1", "2", "3"}  # five rows
    data = json.loads((run / "settings.json").read_text())["data"]
    assert [data[split]["rows"] for split in ("train", "dev", "test")] == [9, 4, 5]
    assert (data["dev"]["held_out"], data["test"]["held_out"]) == (0.3, 0.3)


def test_scores_a_run_without_its_training_file(train, tmp_path):
    """The labels are those that the run has recorded."""
    (tmp_path / "train.csv").write_bytes((OWN / "reviews.csv").read_bytes())
    done, run = train(REVIEWS, tmp_path / "train.csv", test_file=str(OWN / "reviews.csv"))
    assert done.returncode == 0, done.stderr
    (tmp_path / "train.csv").unlink()
    (run / "eval_results.json").unlink()
    done, _ = train(REVIEWS, tmp_path / "train.csv", "--do_train", "false", test_file=str(OWN / "reviews.csv"))
    assert done.returncode == 0, done.stderr
    assert (run / "eval_results.json").exists()


@pytest.mark.parametrize(
    ("definition", "settings", "expected"),
    [
        (REVIEWS, {}, ["--test_file", "--test_ratio"]),
        (REVIEWS, {"test_ratio": 0.01}, ["test_ratio = 0.01 holds out 0 of 18 rows"]),
        (
            REVIEWS | {"text": "reviw"},
            {"test_ratio": 0.3},
            ["reviews.csv, line 1: ", "product, review, stars", "Did you mean 'review'?"],
        ),
        (REVIEWS, {"test_file": "TEST"}, ["test.csv: 1 malformed rows:", "line 4: stars: found '4', expected one of 1, 2, 3"]),
    ],
)
def test_mistakes_exit_with_code_2(train, tmp_path, definition, settings, expected):
    (tmp_path / "test.csv").write_text('review,stars\n"좋다\n",3\n아주 좋다,4\n', encoding="utf-8")
    if "test_file" in settings:
        settings = {"test_file": str(tmp_path / "test.csv")}
    done, run = train(definition, OWN / "reviews.csv", **settings)
    assert (done.returncode, run.exists()) == (2, False)
    assert "Traceback" not in done.stderr
    assert all(part in done.stderr for part in expected), done.stderr
