import numpy as np
import pytest

from processor.split import softmax, stratified_split, tsv_line
from src.errors import ConfigError


def test_a_tsv_line_has_no_other_tabs_and_line_ends():
    assert tsv_line(["1", "a\tb\nc\r\nd", "\\"]) == "1\ta\\tb\\nc\\r\\nd\t\\"


def test_holds_out_the_same_share_of_every_stratum():
    strata = ["a"] * 50 + ["b"] * 30 + ["c"] * 20
    train, held = stratified_split(strata, 0.1)
    assert sorted([*train, *held]) == list(range(100))
    assert [sum(strata[row] == name for row in held) for name in "abc"] == [5, 3, 2]
    assert held.tolist() == stratified_split(strata, 0.1)[1].tolist()
    for ratio in (0.001, 0.999):
        with pytest.raises(ConfigError, match="holds out"):
            stratified_split(strata, ratio)


def test_softmax_of_rows_equals_softmax_of_each_row():
    scores = np.random.default_rng(0).normal(0, 5, (50, 3)).astype(np.float32)
    assert softmax(scores).tolist() == [softmax(row).tolist() for row in scores]
    assert softmax(np.array([0.0, np.log(3.0)])) == pytest.approx([0.25, 0.75])
