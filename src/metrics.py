"""Metrics: pure functions (labels, preds) -> {name: value}. No torch.

scikit-learn, scipy and seqeval compute them, and are imported where they do: they take a second, which --help need not wait.
"""

import logging
import string
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import numpy as np

from src.data import Scores

logger = logging.getLogger(__name__)

Columns = Mapping[str, Sequence[str]]  # of predictions.tsv
# Weights float64 [r, n], how often each of n rows is in each of r samples -> the score of each sample, float64 [r].
WeightedScore = Callable[[np.ndarray], np.ndarray]


def accuracy(labels: np.ndarray, preds: np.ndarray) -> Scores:
    """`acc`, the share of rows (0..1) whose predicted label id equals the gold one. Both int [n]."""
    from sklearn.metrics import accuracy_score

    return {"acc": float(accuracy_score(labels, preds))}


def macro_f1(labels: np.ndarray, preds: np.ndarray) -> Scores:
    """`f1`, `precision`, `recall` (0..1): unweighted means over the labels that occur in gold or prediction. Both int [n].

    A label that is never predicted has precision 0, as in the published hate-speech score.
    """
    from sklearn.metrics import precision_recall_fscore_support

    precision, recall, f1, _ = precision_recall_fscore_support(labels, preds, average="macro", zero_division=0.0)
    return {"f1": float(f1), "precision": float(precision), "recall": float(recall)}


def correlation(labels: np.ndarray, preds: np.ndarray) -> Scores:
    """`pearson`, `spearmanr` (-1..1) and their mean `corr`. Both float [n].

    A correlation with a constant is undefined; it counts as 0.0 and a warning says so.
    """
    from scipy.stats import pearsonr, spearmanr

    if len(labels) < 2 or np.ptp(labels) == 0 or np.ptp(preds) == 0:
        logger.warning("the labels or the predictions are constant: their correlation is undefined and counts as 0.0")
        return {"pearson": 0.0, "spearmanr": 0.0, "corr": 0.0}
    # float64: in float32 a nearly constant prediction loses its correlation to rounding
    gold, predicted = np.asarray(labels, np.float64), np.asarray(preds, np.float64)
    pearson, spearman = float(pearsonr(gold, predicted).statistic), float(spearmanr(gold, predicted).statistic)
    return {"pearson": pearson, "spearmanr": spearman, "corr": (pearson + spearman) / 2}


Tags = list[list[str]]  # of each sentence the tag of each word: "PER-B", "PER-I", "O"


def entity_f1(gold: Tags, preds: Tags) -> Scores:
    """`f1`, `precision`, `recall` (0..1) over whole entities, as the published ones: seqeval with the prefix at the end."""
    from seqeval.metrics import f1_score, precision_score, recall_score

    options = {"suffix": True, "zero_division": 0}
    return {
        "f1": float(f1_score(gold, preds, **options)),
        "precision": float(precision_score(gold, preds, **options)),
        "recall": float(recall_score(gold, preds, **options)),
    }


def entity_report(gold: Tags, preds: Tags) -> str:
    """The scores of every entity type as a table, by seqeval."""
    from seqeval.metrics import classification_report

    return str(classification_report(gold, preds, suffix=True, zero_division=0, digits=4))


# Signs that the official KorQuAD 1.0 script reads as spaces; the rest of ASCII's punctuation it leaves out.
ANSWER_SPACES = "'\"《》<>〈〉()‘’"
ANSWER_SIGNS = str.maketrans(dict.fromkeys(string.punctuation, "") | dict.fromkeys(ANSWER_SPACES, " "))


def normalize_answer(text: str) -> str:
    """An answer as KorQuAD 1.0 compares it: lower case, without punctuation, words with one space between them."""
    return " ".join(text.lower().translate(ANSWER_SIGNS).split())


def answer_f1(gold: Sequence[Sequence[str]], preds: Sequence[str]) -> Scores:
    """`exact_match` and `f1`, both 0..100, by the official rules of KorQuAD 1.0: means over questions, F1 by character.

    gold: the answers to each question, of which the one nearest to the prediction counts. An answer of nothing but signs has
    F1 0 even where it matches.
    """
    exact, overlap = 0, 0.0
    for answers, pred in zip(gold, preds, strict=True):
        exact += max(normalize_answer(answer) == normalize_answer(pred) for answer in answers)
        overlap += max(_character_f1(answer, pred) for answer in answers)
    return {"exact_match": 100 * exact / len(preds), "f1": 100 * overlap / len(preds)}


def _character_f1(gold: str, pred: str) -> float:
    one, other = (Counter(normalize_answer(text).replace(" ", "")) for text in (gold, pred))
    same = (one & other).total()
    return 2 * same / (one.total() + other.total()) if same else 0.0


# -- scores of resampled rows, for `run_benchmark.py compare` ------------------------------------------------------------------


def weighted_accuracy(columns: Columns) -> WeightedScore:
    """The share of rows whose prediction is the label."""
    return _weighted_mean(np.array(columns["label"]) == np.array(columns["prediction"]))


def weighted_macro_f1(columns: Columns) -> WeightedScore:
    """The mean over classes of F1; a class counts in a sample where it is a label or a prediction there."""
    gold, preds = np.array(columns["label"]), np.array(columns["prediction"])
    classes = np.union1d(gold, preds)
    is_gold, is_pred = gold[:, None] == classes, preds[:, None] == classes
    hits, sizes = (is_gold & is_pred).astype(float), is_gold.astype(float) + is_pred

    def score(weights: np.ndarray) -> np.ndarray:
        there = weights @ sizes
        f1 = np.divide(2 * (weights @ hits), there, out=np.zeros_like(there), where=there > 0)
        return f1.sum(axis=1) / (there > 0).sum(axis=1)

    return score


def weighted_entity_f1(columns: Columns) -> WeightedScore:
    """F1 over the entities of all words; a row is a sentence."""
    from seqeval.metrics.sequence_labeling import get_entities

    counts = []
    words = zip(columns["sentence"], columns["label"], columns["prediction"], strict=True)
    for _, sentence in groupby(words, key=lambda word: word[0]):
        _, labels, predictions = zip(*sentence, strict=True)
        gold, found = (set(get_entities(list(tags), suffix=True)) for tags in (labels, predictions))
        counts.append((2 * len(gold & found), len(gold) + len(found)))
    hits, sizes = np.array(counts, float).T

    def score(weights: np.ndarray) -> np.ndarray:
        there = weights @ sizes
        return np.divide(weights @ hits, there, out=np.zeros_like(there), where=there > 0)

    return score


def weighted_spearman(columns: Columns) -> WeightedScore:
    """Spearman's correlation: Pearson's of the ranks in the sample, where equal values share the mean rank; 0 of a constant."""
    gold, preds = (_ranks(np.array(columns[name], float)) for name in ("label", "prediction"))

    def score(weights: np.ndarray) -> np.ndarray:
        total = weights.sum(axis=1, keepdims=True)
        x, y = (ranks(weights) for ranks in (gold, preds))
        x, y = (values - (weights * values).sum(axis=1, keepdims=True) / total for values in (x, y))
        scale = np.sqrt((weights * x * x).sum(axis=1) * (weights * y * y).sum(axis=1))
        return np.divide((weights * x * y).sum(axis=1), scale, out=np.zeros_like(scale), where=scale > 0)

    return score


def _ranks(values: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Weights -> the rank of each of the values in each sample, float64 [r, n]."""
    _, first, group = np.unique(values[order := np.argsort(values, kind="stable")], return_index=True, return_inverse=True)
    place = np.empty(len(values), int)
    place[order] = group

    def ranks(weights: np.ndarray) -> np.ndarray:
        equal = np.add.reduceat(weights[:, order], first, axis=1)
        return (np.cumsum(equal, axis=1) - equal + (equal + 1) / 2)[:, place]

    return ranks


def _weighted_mean(values: np.ndarray) -> WeightedScore:
    numbers = np.asarray(values, float)
    return lambda weights: weights @ numbers / weights.sum(axis=1)


def column_mean(name: str) -> Callable[[Columns], WeightedScore]:
    """The mean of a column that holds the score of each question."""
    return lambda columns: _weighted_mean(np.array(columns[name], float))


@dataclass(frozen=True)
class Metric:
    """A metric: how it is computed, displayed and resampled. A new metric needs one row of METRICS and nothing else."""

    compute: Callable[[Any, Any], Scores]  # labels, preds -> scores
    scores: Mapping[str, str]  # name of every score -> how tables show it
    # Score -> its form for resampled rows, from the columns of predictions.tsv. Scores without one cannot be compared.
    weighted: Mapping[str, Callable[[Columns], WeightedScore]] = field(default_factory=dict)
    scale: float = 1.0  # a perfect score
    rounding: float = 1e-9  # how far (of a scale of 1) the weighted form may be off, as predictions.tsv holds rounded numbers


METRICS: Mapping[str, Metric] = {
    "accuracy": Metric(accuracy, {"acc": "acc"}, {"acc": weighted_accuracy}),
    "macro_f1": Metric(
        macro_f1, {"f1": "F1", "precision": "precision", "recall": "recall"}, {"f1": weighted_macro_f1}
    ),
    "correlation": Metric(
        correlation,
        {"spearmanr": "spearman", "pearson": "pearson", "corr": "corr"},
        {"spearmanr": weighted_spearman},
        rounding=1e-3,  # predictions have six digits, which makes new ties
    ),
    # Compared by the score of all words: which words `f1` leaves out depends on the model's tokenizer.
    "entity_f1": Metric(
        entity_f1,
        {"f1": "F1", "precision": "precision", "recall": "recall", "f1_full": "F1 (all words)"},
        {"f1_full": weighted_entity_f1},
    ),
    "answer_f1": Metric(
        answer_f1,
        {"exact_match": "EM", "f1": "F1"},
        {"exact_match": column_mean("exact_match"), "f1": column_mean("f1")},
        scale=100.0,
    ),
}  # fmt: skip
