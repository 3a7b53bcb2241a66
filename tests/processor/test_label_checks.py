import pytest

from processor.definition import make_task
from processor.label_checks import check_labels
from processor.readers.tables import DataRow
from src.common.errors import DataError

CLASSES = {"kind": "classification", "text": "review", "label": "stars"}
SETS = CLASSES | {"kind": "multi_label"}


def check(*labels, texts=None, **definition):
    """Check rows from line 2 on, whose labels are separated by commas."""
    rows = [
        DataRow(f"line {number + 2}", (texts[number] if texts else f"글 {number}",), tuple(label.split(",")))
        for number, label in enumerate(labels)
    ]
    return check_labels("f.csv", rows, make_task("own", CLASSES | definition, "f"))


def error_of(*labels, **given):
    with pytest.raises(DataError) as caught:
        check(*labels, **given)
    assert "f.csv" in str(caught.value) and '"labels"' in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("missing", ["nan", "NaN", "<NA>", "NaT"])
def test_a_missing_value_of_pandas_is_no_label(missing):
    message = error_of("good", missing, "bad", missing, missing, missing)
    assert f"{missing!r} is a missing value: 4 rows, line 3, line 5, line 6 and more." in message
    assert "1 row, line 3." in error_of("good", f"{missing},bad", "bad", **SETS)


def test_none_may_be_a_label():
    (warning,) = check("None", "hate", "None", "offensive")
    assert "'None'" in warning and "2 rows, line 2, line 4" in warning
    assert check("none", "hate", "offensive") == []
    assert check("hate", "nanny", "Nancy") == []


@pytest.mark.parametrize("other", ["부정 ", "\t부정", "부 정", "부정\u00a0", "부정\u200b"])
def test_labels_that_differ_by_white_space(other):
    message = error_of("부정", "긍정", "부정", other)
    assert "2 rows, line 2, line 4" in message and "1 row, line 5" in message
    assert "differ only by white space" in error_of("부정", other, **SETS)
    assert check("부정", "긍정", "아주 부정", " 그저 ") == []


@pytest.mark.parametrize("separator", [";", "|", "/", "\t", " "])
def test_names_the_separator_of_several_labels(separator):
    names = ["기쁨", "슬픔", "분노", "놀람"]
    pairs = [separator.join([one, other]) for one in names for other in names if one != other]
    message = error_of(*pairs, **SETS)
    assert f"--label_separator {separator!r}" in message and "12 labels" in message and "made of 4" in message
    commas = error_of(*pairs, **SETS | {"label_separator": "x"}).replace("f.csv", "")
    assert f"--label_separator {separator!r}" in commas


def test_names_the_separator_of_all_pairs_of_few_labels():
    """Four labels of four parts, each of which is in two labels."""
    assert "--label_separator ';'" in error_of("긍정;a", "긍정;b", "부정;a", "부정;b", **SETS)


def test_a_separator_may_be_in_a_label():
    assert check("IT/과학", "생활/문화", "정치", "IT/과학,정치", **SETS) == []
    assert check("매우 좋음", "좋음", "매우 나쁨", "나쁨", **SETS) == []
    assert check("a;b", "a", "b") == []  # classes


def test_stops_if_nearly_every_label_is_another_one():
    ids = [f"id-{number}" for number in range(30)]
    message = error_of(*ids, *ids[:10])
    assert "of 40 labels, 30 are different ones" in message and "--label_column stars" in message and "swapped" not in message
    message = error_of(*ids, texts=["좋다", "나쁘다", "그저"] * 10)
    assert "only 3 different values" in message and "--text_column review and --label_column stars" in message
    scores = [f"{number / 100}" for number in range(-15, 15)]
    assert "--kind regression" in error_of(*scores)


def test_many_or_few_labels_are_no_ids():
    assert check(*[f"의도 {number % 30}" for number in range(60)]) == []
    assert check(*map(str, range(19))) == []
    assert check(*[f"{row},{(row + 7) % 30},{(row + 11) % 30}" for row in range(30)], **SETS) == []
