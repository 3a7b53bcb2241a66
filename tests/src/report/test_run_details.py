"""The details of predictions that a reader can count."""

import json

import pytest

from processor.definition import TASKS, make_task
from src.data.task import Task
from src.report import run_details
from src.report.run_details import LabelScore, read_details


def details(tmp_path, lines, task="nsmc", with_texts=True, **files):
    (tmp_path / "test").mkdir(exist_ok=True)
    (tmp_path / "test" / "predictions-7.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    for name, content in files.items():
        (tmp_path / "test" / f"{name}-7.json").write_text(json.dumps(content))
    return read_details(tmp_path, 7, task if isinstance(task, Task) else TASKS[task], with_texts)


NSMC = [
    "index\tdocument\tlabel\tprediction\tprob_0\tprob_1",
    "0\t좋다\t1\t1\t0.10\t0.90",
    "1\t나쁘다\t0\t0\t0.95\t0.05",
    "2\t글쎄\t0\t1\t0.40\t0.60",
    "3\t최고\t1\t0\t0.70\t0.30",
    "4\t\t1\t0\t1.00\t0.00",
]


def test_classes(tmp_path):
    """Five rows: 2 right, 3 wrong. The bins: 0.60 wrong; 0.70 wrong; 0.90, 0.95 right and 1.00 wrong."""
    found = details(tmp_path, NSMC)
    assert (found.rows, found.error_count) == (5, 3)
    assert found.labels == ["0 (negative)", "1 (positive)"]
    assert found.confusion == [[1, 1], [2, 1]]
    assert [(error.row, error.texts, error.gold, error.prediction, error.size) for error in found.errors] == [
        ("4", [""], "1 (positive)", "0 (negative)", 1.0),
        ("3", ["최고"], "1 (positive)", "0 (negative)", 0.7),
        ("2", ["글쎄"], "0 (negative)", "1 (positive)", 0.6),
    ]
    assert [(part.count, round(part.probability, 2), round(part.right, 2)) for part in found.bins] == [
        (1, 0.6, 0.0),
        (1, 0.7, 0.0),
        (3, 0.95, 0.67),
    ]
    assert found.calibration_error == pytest.approx((0.6 + 0.7 + 3 * (0.95 - 2 / 3)) / 5)
    assert found.errors_title == "The 3 most confident errors, of 3"


def test_texts_are_left_out_unless_they_may_be_shown(tmp_path):
    assert [error.texts for error in details(tmp_path, NSMC, with_texts=False).errors] == [[], [], []]


def test_only_the_most_confident_errors_are_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(run_details, "ERRORS", 2)
    found = details(tmp_path, NSMC)
    assert ([error.row for error in found.errors], found.error_count) == (["4", "3"], 3)


def test_rare_labels_share_a_row_of_the_confusion_matrix(tmp_path, monkeypatch):
    """a occurs three times, b and c once."""
    monkeypatch.setattr(run_details, "MAX_LABELS", 2)
    task = make_task("own", {"kind": "classification", "text": "text", "label": "label", "labels": dict(zip("abc", "abc"))}, "x")  # noqa: B905
    header = "index\ttext\tlabel\tprediction\tprob_a\tprob_b\tprob_c"
    rows = [f"{number}\tx\t{pair[0]}\t{pair[1]}\t0.5\t0.3\t0.2" for number, pair in enumerate(("aa", "aa", "ab", "bc", "ca"))]
    found = details(tmp_path, [header, *rows], task)
    assert (found.labels, found.confusion) == (["a", "other labels"], [[2, 1], [1, 1]])


def test_several_labels(tmp_path):
    """x is in two rows and found in one; y is predicted once, wrongly; z never occurs."""
    task = make_task("own", {"kind": "multi_label", "text": "t", "label": "l", "labels": {"x": "x", "y": "y", "z": "z"}}, "x")
    lines = [
        "index\tt\tlabel\tprediction\tprob_x\tprob_y\tprob_z",
        '0\ta\t["x"]\t["x"]\t0.9\t0.2\t0.1',
        '1\tb\t["x"]\t["y"]\t0.3\t0.6\t0.1',
        "2\tc\t[]\t[]\t0.1\t0.1\t0.1",
    ]
    found = details(tmp_path, lines, task)
    assert found.label_scores == [LabelScore("x", 2, 1, 1), LabelScore("y", 0, 1, 0), LabelScore("z", 0, 0, 0)]
    assert [round(score.f1, 2) for score in found.label_scores] == [0.67, 0.0, 0.0]
    (error,) = found.errors
    assert (error.row, error.gold, error.prediction, error.size) == ("1", "x", "y", 0.7)
    assert sum(part.count for part in found.bins) == 9


def test_scores(tmp_path, monkeypatch):
    lines = ["index\tsentence1\tsentence2\tlabel\tprediction"]
    lines += [
        f"{row}\ta\tb\t{label}\t{label + distance}" for row, (label, distance) in enumerate([(1.0, 0.5), (2.0, -2.0), (5.0, 0.0)])
    ]
    found = details(tmp_path, lines, "korsts")
    assert found.points == [(1.0, 1.5), (2.0, 0.0), (5.0, 5.0)]
    assert [(error.row, error.gold, error.prediction) for error in found.errors] == [
        ("1", "2", "0.00"), ("0", "1", "1.50"), ("2", "5", "5.00"),
    ]  # fmt: skip
    monkeypatch.setattr(run_details, "MAX_POINTS", 2)
    assert details(tmp_path, lines, "korsts").points == [(1.0, 1.5), (5.0, 5.0)]


NER = [
    "sentence\tword\tlabel\tprediction",
    "0\t홍\tPER-B\tPER-B",
    "0\t길동이\tPER-I\tPER-I",
    "0\t서울에\tLOC-B\tORG-B",
    "1\t비가\tO\tO",
    "2\t오늘\tDAT-B\tO",
]


def test_tags(tmp_path):
    """PER is found; LOC is taken for ORG; DAT is missed. Sentence 0 has two wrong entities, 2 has one."""
    found = details(tmp_path, NER, "naver-ner")
    assert found.label_scores == [
        LabelScore("DAT", 1, 0, 0), LabelScore("LOC", 1, 0, 0), LabelScore("ORG", 0, 1, 0), LabelScore("PER", 1, 1, 1),
    ]  # fmt: skip
    assert [(error.row, error.texts, error.gold, error.prediction) for error in found.errors] == [
        ("0", ["홍 길동이 서울에"], "PER 0-1 (홍 길동이), LOC 2 (서울에)", "PER 0-1 (홍 길동이), ORG 2 (서울에)"),
        ("2", ["오늘"], "DAT 0 (오늘)", "none"),
    ]
    hidden = details(tmp_path, NER, "naver-ner", with_texts=False)
    assert [(error.row, error.texts, error.gold) for error in hidden.errors] == [("0", [], "PER 0-1, LOC 2"), ("2", [], "DAT 0")]


def test_answers(tmp_path):
    """Question b is answered wrongly with a probability of 0.8; c has no candidate."""
    lines = [
        "id\tquestion\tanswers\tprediction\texact_match\tf1",
        '"a"\t"누가?"\t["홍길동"]\t"홍길동"\t100.0\t100.0',
        '"b"\t"언제?"\t["1956년", "1956"]\t"1957년"\t0.0\t80.0',
        '"c"\t"어디?"\t["서울"]\t""\t0.0\t0.0',
    ]
    nbest = {"a": [{"probability": 0.9}], "b": [{"probability": 0.8}, {"probability": 0.2}], "c": []}
    found = details(tmp_path, lines, "korquad", nbest=nbest)
    assert [(error.row, error.texts, error.gold, error.prediction, error.size) for error in found.errors] == [
        ("b", ["언제?"], "1956년 / 1956", "1957년", 0.8),
        ("c", ["어디?"], "서울", "", 0.0),
    ]
    assert [part.count for part in found.bins] == [1, 1, 1]
    hidden = details(tmp_path, lines, "korquad", with_texts=False, nbest=nbest)
    assert [(error.row, error.texts, error.gold, error.prediction) for error in hidden.errors] == [
        ("b", [], "", ""),
        ("c", [], "", ""),
    ]


@pytest.mark.parametrize("line", ["3\t최고\t1\t0\t0.70", "3\t최고\t1\t2\t0.70\t0.30", "3\t최고\t1\t0\tx\t0.30"])
def test_damaged_lines(tmp_path, line):
    """A torn line, a label without a probability, a probability that is no number."""
    with pytest.raises((ValueError, KeyError)):
        details(tmp_path, [*NSMC[:2], line])


def test_missing_predictions(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_details(tmp_path, 7, TASKS["nsmc"], True)
