import json

import pytest

from processor.check import check_tasks, describe, overlaps
from processor.definition import TASKS, make_task
from processor.kinds import KINDS
from processor.readers.tables import DataRow
from src.common.errors import DataError
from tests.commands import run_script
from tests.conftest import SAMPLE, SAMPLED_TASKS


def rows_of(*rows):
    """Return rows of (texts, label), from line 2 on; a label None stands for none."""
    return [
        DataRow(f"line {line}", texts, () if label is None else (label,)) for line, (texts, label) in enumerate(rows, start=2)
    ]


def test_describes_labels_duplicates_and_suspicious_rows():
    texts = [
        "좋다",
        "좋다",
        "좋다",
        "으" * 30,
        " ",
        "https://a.b/c http://d",
        "깨\ufffd",
        "가\x1c나",
        "긴 글 " * 1000,
        "\u1112\u1161",
    ]
    rows = rows_of(*(((text,), label) for text, label in zip(texts, "1010011111", strict=True)))
    assert describe(rows, TASKS["nsmc"]) == [
        "labels: 0 3, 1 7",
        "duplicates: 2 rows repeat an earlier one; 1 texts have more than one label",
        "empty text: 1, such as line 6",
        "one character repeated: 1, such as line 5",
        "only an address: 1, such as line 7",
        "the replacement character U+FFFD: 1, such as line 8",
        "decomposed Hangul (NFD): 1, such as line 11",
        "a control character: 1, such as line 9",
        "more than 2,000 characters: 1, such as line 10",
    ]


def test_describes_pairs_and_scores():
    rows = rows_of((("NS", "가"), "0"), (("나", "나"), "1"), (("다", "라"), "1"))
    assert describe(rows, TASKS["paws"])[1:] == [
        "placeholder 'NS': 1, such as line 2",
        "the same text twice: 1, such as line 3",
    ]
    scored = rows_of((("가", "나"), "5.0"), (("다", "라"), "99"), (("마", "바"), "-3"))
    assert describe(scored, TASKS["korsts"]) == ["score outside 0 to 5: 2, such as line 3, line 4"]


def test_counts_each_of_several_labels(tmp_path):
    definition = {"kind": "multi_label", "text": "x", "label": "y", "labels": {"art": "Art", "music": "Music"}}
    (tmp_path / "f.jsonl").write_text(
        '{"x": "가", "y": ["music", "art"]}\n{"x": "가", "y": "art, music"}\n{"x": "나", "y": []}\n'
    )
    task = make_task("topics", definition, "f")
    assert describe(KINDS[task.kind].read_rows(tmp_path / "f.jsonl", task), task) == [
        "labels: art 2, music 2",
        "rows without a label: 1",
        "duplicates: 1 rows repeat an earlier one; 0 texts have more than one label",
    ]


def test_counts_tags_and_labels_of_json(tmp_path):
    (tmp_path / "f.conll").write_text("가 B-PER\n나 O\n\n다 O\n")
    tagging = make_task("tags", {"kind": "tagging", "labels": {"O": "O", "B-PER": "person"}}, "f")
    assert describe(KINDS["tagging"].read_rows(tmp_path / "f.conll", tagging), tagging) == ["labels: O 2, B-PER 1"]
    (tmp_path / "f.jsonl").write_text('{"x": "가", "y": true}\n{"x": "나", "y": false}\n')
    task = make_task("t", {"kind": "classification", "text": "x", "label": "y", "labels": {"true": "", "false": ""}}, "f")
    assert describe(KINDS[task.kind].read_rows(tmp_path / "f.jsonl", task), task) == ["labels: true 1, false 1"]


def test_reports_texts_that_two_files_share():
    one, other = rows_of((("가",), "0"), (("나",), "0")), rows_of((("나",), "1"))
    assert overlaps({"train": one, "dev": other, "test": []}, TASKS["nsmc"]) == ["overlap: 1 texts are in train and in dev"]
    one, other = rows_of((("가",), "0")), rows_of((("\u1100\u1161 ",), "1"))
    assert overlaps({"train": one, "test": other}, TASKS["nsmc"]) == ["overlap: 1 texts are in train and in test"]
    one, other = rows_of((("누구?", "글"), "가")), rows_of((("언제?", "글"), "나"))
    assert overlaps({"a": one, "b": other}, TASKS["korquad"]) == ["overlap: 1 texts are in a and in b"]


def test_overlaps_of_pairs_by_their_first_text_and_rows_that_repeat():
    """The whole pair (a, b) is in two rows of the second file, and a in one more; c is there with another second text."""
    one = [DataRow("line 1", ("a", "b"), ()), DataRow("line 2", ("c", "d"), ())]
    other = [DataRow(f"line {n}", texts, ()) for n, texts in enumerate([("a", "b"), ("a", "b"), ("a", "x"), ("c", "y")], start=1)]
    assert overlaps({"train": one, "test": other}, TASKS["kornli"]) == [
        "overlap: 1 texts are in train and in test (2 rows of it)",
        "overlap: 2 texts in the column sentence1 are in train and in test (4 rows of it)",
    ]
    assert len(overlaps({"train": one, "test": other[:2]}, TASKS["kornli"])) == 1


def test_checks_rows_that_a_run_skips(tmp_path, capsys):
    (tmp_path / "paws").mkdir()
    rows = "id\tsentence1\tsentence2\tlabel\n1\t가\t나\t0\n2\t\t나\t0\n3\t가\t다\t1\n"
    (tmp_path / "paws" / "dev_2k.tsv").write_text(rows)
    check_tasks(["paws"], tmp_path)
    printed = capsys.readouterr().out
    assert "dev_2k.tsv: 3 rows" in printed
    assert "empty text: 1, such as line 3" in printed


def test_accepts_the_sample(capsys):
    check_tasks(SAMPLED_TASKS, SAMPLE)
    printed = capsys.readouterr().out
    assert printed.count("not the published file, which has") == sum(len(TASKS[name].files) for name in SAMPLED_TASKS)
    assert f"{SAMPLE}/nsmc/ratings_train.txt: 400 rows, not the published file, which has 150,000" in printed


def test_a_malformed_file_exits_with_code_2(tmp_path):
    folder = tmp_path / "korsts"
    folder.mkdir()
    (folder / "sts-dev.tsv").write_text("genre\tscore\n")
    (folder / "sts-test.tsv").write_bytes((SAMPLE / "korsts" / "sts-test.tsv").read_bytes())
    done = run_script("processor.download", "korsts", "--check", "--data_dir", str(tmp_path))
    assert done.returncode == 2
    assert "sts-dev.tsv, line 1: found the header" in done.stderr
    assert "sts-test.tsv: 100 rows" in done.stdout  # the other files are still checked
    assert "sts-train.tsv: missing" in done.stdout


def own_task(tmp_path, **files):
    """Write the file of a task "own" and its data files; returns the arguments of the command."""
    (tmp_path / "tasks").mkdir()
    (tmp_path / "data" / "own").mkdir(parents=True)
    definition = {"kind": "classification", "text": "review", "label": "stars"}
    names = {f"{split}_file": f"{split}.csv" for split in files}
    (tmp_path / "tasks" / "own.json").write_text(json.dumps({"definition": definition} | names))
    for split, rows in files.items():
        (tmp_path / "data" / "own" / f"{split}.csv").write_text(f"review,stars\n{rows}", encoding="utf-8")
    return ["own", "--config_dir", str(tmp_path), "--data_dir", str(tmp_path / "data")]


def check(*arguments):
    return run_script("processor.check", *arguments)


def test_checks_own_files(tmp_path):
    rows = '"좋다\n",2\n나쁘다,1\n나쁘다,2\n'
    done = check(*own_task(tmp_path, train=rows, test=f"나쁘다,1\n{'긴 글 ' * 1000},1\n"))
    assert done.returncode == 0, done.stderr
    train, test = (f"{tmp_path}/data/own/{name}.csv" for name in ("train", "test"))
    assert done.stdout.splitlines() == [
        f"{train}: 3 rows",
        "  labels: 1 1, 2 2",
        "  duplicates: 1 rows repeat an earlier one; 1 texts have more than one label",
        f"{test}: 2 rows",
        "  labels: 1 2, 2 0",
        "  more than 2,000 characters: 1, such as line 3",
        "  overlap: 1 texts are in own/train.csv and in own/test.csv",
    ]
    assert "2 of 2 labels occur fewer than 5 times" in done.stderr


def test_reports_problems_of_own_files(tmp_path, capsys):
    names, *_ = own_task(tmp_path, train="좋다,2\n나쁘다,1\n", dev="좋다\n", test="\n좋다,3\n")
    with pytest.raises(DataError) as caught:
        check_tasks([names], tmp_path / "data", tmp_path)
    assert "dev.csv: 1 malformed rows" in str(caught.value)
    assert "test.csv: 1 malformed rows:\n  - line 3: stars: found '3', expected one of 1, 2" in str(caught.value)
    assert "train.csv: 2 rows" in capsys.readouterr().out  # the other files are still checked


def test_takes_the_path_of_a_task_file(tmp_path):
    """As --task does; its files may be anywhere."""
    own_task(tmp_path, train="좋다,2\n나쁘다,1\n", test="나쁘다,1\n")
    path, data = tmp_path / "tasks" / "own.json", tmp_path / "data"
    by_folder = check(str(path), "--data_dir", str(data))
    names = {f"{split}_file": str(data / "own" / f"{split}.csv") for split in ("train", "test")}
    path.write_text(json.dumps(json.loads(path.read_text()) | names))
    by_path = check(str(path), "nsmc")
    for done in (by_folder, by_path):
        assert done.returncode == 0, done.stderr
        assert f"{data}/own/train.csv: 2 rows" in done.stdout and f"{data}/own/test.csv: 1 rows" in done.stdout
    assert (check(str(tmp_path / "no.json")).returncode, check(str(data / "own" / "train.csv")).returncode) == (2, 2)


def test_rejects_unknown_tasks(tmp_path):
    done = check("nsmcc")
    assert done.returncode == 2
    assert "Did you mean 'nsmc'?" in done.stderr


def test_rejects_a_folder_without_data_files(tmp_path):
    with pytest.raises(DataError, match=f"{tmp_path}.*processor.download"):
        check_tasks(["nsmc"], tmp_path)
