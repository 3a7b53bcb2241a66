from itertools import chain

import numpy as np
import pytest

from src.metrics.characters import character_f1, entities_of
from src.metrics.metrics import METRICS

GOLD = [["B-PS", "I-PS", "O"], ["O", "B-LC", "B-PS"]]
PREDS = [["B-PS", "I-PS", "I-PS"], ["O", "B-LC", "B-LC"]]


def test_entities_begin_with_b():
    assert entities_of(["I-PS", "B-PS", "I-PS", "I-LC", "B-LC", "B-LC", "O"]) == {("PS", 1, 2), ("LC", 4, 4), ("LC", 5, 5)}


def test_scores_by_hand():
    """PS: 2 gold, 1 predicted, none right; LC: 1 gold, 2 predicted, 1 right: F1 2/3. With O for [CLS] and [SEP], tags have these
    counts (right, gold, predicted): O 5, 6, 5; B-LC 1, 1, 2; B-PS 1, 2, 1; I-PS 1, 1, 2.
    """
    scores = character_f1(GOLD, PREDS)
    assert scores["entity_f1"] == pytest.approx((0 + 2 / 3) / 2)
    others = [2 / 3, 2 / 3, 2 / 3]
    assert scores["char_f1"] == pytest.approx(np.mean([10 / 11, *others]))
    assert scores["char_f1_no_o"] == pytest.approx(np.mean(others))


@pytest.mark.parametrize(
    ("gold", "preds", "expected"),
    [
        ([["O"]], [["O"]], (0.0, 1.0, 0.0)),
        ([["O", "O"]], [["I-PS", "O"]], (0.0, (6 / 7 + 0) / 2, 0.0)),
        ([["B-PS"]], [["O"]], (0.0, (4 / 5 + 0) / 2, 0.0)),
        ([["B-PS"], []], [["B-PS"], []], (1.0, 1.0, 1.0)),
    ],
)
def test_edge_cases(gold, preds, expected):
    assert tuple(character_f1(gold, preds).values()) == pytest.approx(expected)


@pytest.mark.parametrize("score", METRICS["character_f1"].weighted)
def test_weighted_forms_score_resampled_sentences(score):
    """Every sample has the score of its sentences, those that are drawn twice included."""
    rng = np.random.default_rng(1)
    tags = ["O", "B-PS", "I-PS", "B-LC", "I-LC", "B-DT"]
    gold = [list(rng.choice(tags, 6)) for _ in range(8)]
    preds = [[guess if rng.random() < 0.3 else tag for tag, guess in zip(of, rng.choice(tags, 6), strict=True)] for of in gold]
    columns = {"sentence": np.repeat(range(8), 6).tolist(), "label": [*chain(*gold)], "prediction": [*chain(*preds)]}
    draws = rng.integers(0, 8, (20, 8))
    weights = np.array([np.bincount(draw, minlength=8) for draw in draws], float)
    expected = [character_f1([gold[row] for row in draw], [preds[row] for row in draw])[score] for draw in draws]
    assert METRICS["character_f1"].weighted[score](columns)(weights) == pytest.approx(expected)
