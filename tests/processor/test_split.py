import numpy as np
import pytest
from transformers import BertTokenizer

from processor.data_files import describe_files
from processor.definition import TASKS
from processor.kinds import load_split
from processor.split import softmax, tsv_line
from src.training.order import epoch_order
from tests.conftest import SAMPLE


def test_a_tsv_line_has_no_other_tabs_and_line_ends():
    assert tsv_line(["1", "a\tb\nc\r\nd", "\\"]) == "1\ta\\tb\\nc\\r\\nd\t\\"


def test_softmax_of_rows_equals_softmax_of_each_row():
    scores = np.random.default_rng(0).normal(0, 5, (50, 3)).astype(np.float32)
    assert softmax(scores).tolist() == [softmax(row).tolist() for row in scores]
    assert softmax(np.array([0.0, np.log(3.0)])) == pytest.approx([0.25, 0.75])


def test_draws_the_first_rows_of_a_shuffle_of_what_is_not_held_out(settings, caplog):
    chosen, task = settings("hate-speech"), TASKS["hate-speech"]
    file = describe_files({"train": chosen.data_files["train"]})["train"]
    whole = load_split("train", file, chosen, task, BertTokenizer.from_pretrained(SAMPLE / "tiny-electra"))
    train, dev = whole.hold_out(0.2)
    with caplog.at_level("INFO"):
        small, large, other = train.draw(50, seed=1), train.draw(100, seed=1), train.draw(50, seed=2)
    assert "train: 50 of 360 examples drawn" in caplog.text
    assert {*small.rows} < {*large.rows} < {*train.rows}  # and so none of dev
    assert small.rows.tolist() == sorted(small.rows) != other.rows.tolist()
    assert small.examples == [whole.examples[row] for row in small.rows]
    assert small.features.tensors["labels"].tolist() == whole.features.tensors["labels"][small.rows].tolist()
    assert (len(small), small.facts["rows"], small.facts["drawn_from"]) == (50, 50, 360)
    assert {*train.rows[epoch_order(360, 1, 0)[:50]]} != {*small.rows}  # another shuffle than that of an epoch
    for number in (360, 1000):
        assert train.draw(number, seed=1) is train
    assert "drawn_from" not in train.facts | dev.facts
