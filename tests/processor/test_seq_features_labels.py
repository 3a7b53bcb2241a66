import pytest

from processor.definition import make_task
from processor.seq_features import encode_labels, read_label_set, split_labels, write_labels

LIST = {"kind": "multi_label", "columns": ["text", "topics"], "text": "text", "label": "topics"}
ONE_COLUMN = make_task("topics", LIST | {"labels": {"sports": "sports", "art": "art", "3": "three"}}, "f")
COLUMNS = make_task("topics", LIST | {"columns": ["text", "sports", "art"], "label": ["sports", "art"]}, "f")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (["art", "sports"], ("sports", "art")),  # in the order of ids
        ("art,sports", ("sports", "art")),
        (" art , sports ", ("sports", "art")),
        ('["art", "sports"]', ("sports", "art")),  # a list in a CSV file
        ([3], ("3",)),
        ("3", ("3",)),
        ([], ()),
        ("[]", ()),
        (" ", ()),
    ],
)
def test_labels_in_one_column(value, expected):
    assert read_label_set([value], ONE_COLUMN) == expected


def test_labels_with_another_separator():
    task = ONE_COLUMN.model_copy(update={"label_separator": "|"})
    assert read_label_set(["art|sports"], task) == ("sports", "art")
    assert split_labels(["art,sports"], task) == ("art,sports",)


@pytest.mark.parametrize(("on", "off"), [("1", "0"), (1, 0), (True, False), ("true", "False")])
def test_labels_in_several_columns(on, off):
    assert read_label_set([off, on], COLUMNS) == ("art",)
    assert read_label_set([on, on], COLUMNS) == ("sports", "art")
    assert read_label_set([off, off], COLUMNS) == ()


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (["arts"], "found 'arts', expected labels among sports, art, 3. Did you mean 'art'?"),
        ("art,", "empty or a repeated label"),
        ("art,art", "empty or a repeated label"),
        ("['art']", "not JSON"),
        (None, "found None"),
        (["art", None], "expected a list of labels"),
        ([True], "expected a list of labels"),
        ({"art": 1}, "expected a list of labels"),
    ],
)
def test_rejects_other_values(value, expected):
    with pytest.raises(ValueError) as caught:
        read_label_set([value], ONE_COLUMN)
    assert expected in str(caught.value)


@pytest.mark.parametrize("value", ["2", "", "yes", 1.0, None])
def test_rejects_other_values_of_a_column(value):
    with pytest.raises(ValueError, match=r"art: found .* expected 0 or 1"):
        read_label_set(["0", value], COLUMNS)


def test_encodes_one_column_per_label():
    tensor = encode_labels([("art",), (), ("sports", "art")], ["sports", "art"])
    assert (str(tensor.dtype), tensor.tolist()) == ("float32", [[0, 1], [0, 0], [1, 1]])


def test_writes_labels_that_contain_a_separator():
    assert write_labels(("사회, 문화", "예술")) == '["사회, 문화", "예술"]'
