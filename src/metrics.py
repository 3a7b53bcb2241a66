"""Metrics: pure functions (labels, preds) -> {name: value}, and METRICS, the table of all metrics. No torch.

scikit-learn, scipy and seqeval are imported inside the functions that use them: importing them takes a second, and --help
does not need them.
"""

import logging
import string
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import numpy as np

from src.data import Scores, Task
from src.hangul import compose

logger = logging.getLogger(__name__)

Columns = Mapping[str, Sequence[str]]  # of predictions.tsv
# Weights float64 [r, n] (how often each of n rows occurs in each of r samples) -> score of each sample, float64 [r].
WeightedScore = Callable[[np.ndarray], np.ndarray]


def accuracy(labels: np.ndarray, preds: np.ndarray) -> Scores:
    """Return `acc`: the share of rows (0..1) whose predicted label id equals the gold one. Both int [n]."""
    from sklearn.metrics import accuracy_score

    return {"acc": float(accuracy_score(labels, preds))}


def macro_f1(labels: np.ndarray, preds: np.ndarray) -> Scores:
    """Return `f1`, `precision`, `recall` (0..1): unweighted means over the labels in gold or prediction. Both int [n].

    A label that is never predicted has precision 0, as in the published hate-speech score.
    """
    from sklearn.metrics import precision_recall_fscore_support

    precision, recall, f1, _ = precision_recall_fscore_support(labels, preds, average="macro", zero_division=0.0)
    return {"f1": float(f1), "precision": float(precision), "recall": float(recall)}


def correlation(labels: np.ndarray, preds: np.ndarray) -> Scores:
    """Return `pearson`, `spearmanr` (-1..1) and their mean `corr`. Both float [n].

    The correlation with a constant is undefined: it counts as 0.0.
    """
    from scipy.stats import pearsonr, spearmanr

    if len(labels) < 2 or np.ptp(labels) == 0 or np.ptp(preds) == 0:
        return {"pearson": 0.0, "spearmanr": 0.0, "corr": 0.0}
    # float64: in float32 a nearly constant prediction loses its correlation to rounding
    gold, predicted = np.asarray(labels, np.float64), np.asarray(preds, np.float64)
    pearson, spearman = float(pearsonr(gold, predicted).statistic), float(spearmanr(gold, predicted).statistic)
    return {"pearson": pearson, "spearmanr": spearman, "corr": (pearson + spearman) / 2}


Tags = list[list[str]]  # sentences of word tags: "PER-B", "PER-I", "O"


def entity_f1(gold: Tags, preds: Tags) -> Scores:
    """Return `f1`, `precision`, `recall` (0..1) over whole entities, by seqeval as the published scores are.

    seqeval's `suffix` option is set, as tags have their B or I at the end.
    """
    from seqeval.metrics import f1_score, precision_score, recall_score

    options = {"suffix": True, "zero_division": 0}
    return {
        "f1": float(f1_score(gold, preds, **options)),
        "precision": float(precision_score(gold, preds, **options)),
        "recall": float(recall_score(gold, preds, **options)),
    }


def entity_report(gold: Tags, preds: Tags) -> str:
    """Return seqeval's table of scores by entity type, empty if there are no entities."""
    from seqeval.metrics import classification_report
    from seqeval.metrics.sequence_labeling import get_entities

    if not get_entities([*gold, *preds], suffix=True):  # seqeval raises ValueError
        return ""
    return str(classification_report(gold, preds, suffix=True, zero_division=0, digits=4))


# Characters that the official KorQuAD 1.0 script replaces by spaces; other ASCII punctuation is removed.
ANSWER_SPACES = "'\"《》<>〈〉()‘’"
ANSWER_SIGNS = str.maketrans(dict.fromkeys(string.punctuation, "") | dict.fromkeys(ANSWER_SPACES, " "))


def normalize_answer(text: str) -> str:
    """Normalize an answer as KorQuAD 1.0 does: lower case, no punctuation, single spaces between words.

    Hangul is composed first: F1 counts syllables, not jamo.
    """
    return " ".join(compose(text).lower().translate(ANSWER_SIGNS).split())


def answer_f1(gold: Sequence[Sequence[str]], preds: Sequence[str]) -> Scores:
    """Return `exact_match` and `f1` (0..100) by the official rules of KorQuAD 1.0: means over questions, F1 by character.

    gold: the accepted answers to each question, of which the best match counts. An answer of punctuation alone has F1 0 even
    if it matches.
    """
    exact, overlap = 0, 0.0
    for answers, pred in zip(gold, preds, strict=True):
        exact += max(normalize_answer(answer) == normalize_answer(pred) for answer in answers)
        overlap += max(_character_f1(answer, pred) for answer in answers)
    return {"exact_match": 100 * exact / len(preds), "f1": 100 * overlap / len(preds)}


def _character_f1(gold: str, pred: str) -> float:
    gold_counts, pred_counts = (Counter(normalize_answer(text).replace(" ", "")) for text in (gold, pred))
    shared = (gold_counts & pred_counts).total()
    return 2 * shared / (gold_counts.total() + pred_counts.total()) if shared else 0.0


# -- Weighted forms: scores of resampled rows, for `run_benchmark.py compare` ------------------------------------------------
# They repeat the definitions above because thousands of samples need vectorized code; `compare` checks that both agree.


def weighted_accuracy(columns: Columns) -> WeightedScore:
    """Weighted form of `acc` in `accuracy`."""
    return _weighted_mean(np.array(columns["label"]) == np.array(columns["prediction"]))


def weighted_macro_f1(columns: Columns) -> WeightedScore:
    """Weighted form of `f1` in `macro_f1`. A class counts in the samples in which it occurs as label or prediction."""
    gold, preds = np.array(columns["label"]), np.array(columns["prediction"])
    classes = np.union1d(gold, preds)
    is_gold, is_pred = gold[:, None] == classes, preds[:, None] == classes
    hits, sizes = (is_gold & is_pred).astype(float), is_gold.astype(float) + is_pred

    def score(weights: np.ndarray) -> np.ndarray:
        total = weights @ sizes  # of each class: gold rows + predicted rows
        f1 = _divide(2 * (weights @ hits), total)
        return f1.sum(axis=1) / (total > 0).sum(axis=1)

    return score


def weighted_entity_f1(columns: Columns) -> WeightedScore:
    """Weighted form of `f1` in `entity_f1`, over all words (`f1_full`). A row is a sentence."""
    from seqeval.metrics.sequence_labeling import get_entities

    counts = []
    words = zip(columns["sentence"], columns["label"], columns["prediction"], strict=True)
    for _, sentence in groupby(words, key=lambda word: word[0]):
        _, labels, predictions = zip(*sentence, strict=True)
        gold, predicted = (set(get_entities(list(tags), suffix=True)) for tags in (labels, predictions))
        counts.append((2 * len(gold & predicted), len(gold) + len(predicted)))
    hits, sizes = np.array(counts, float).T

    return lambda weights: _divide(weights @ hits, weights @ sizes)


def weighted_spearman(columns: Columns) -> WeightedScore:
    """Weighted form of `spearmanr` in `correlation`: Pearson's r of the ranks in each sample; ties share their mean rank."""
    gold, preds = (_ranks(np.array(columns[name], float)) for name in ("label", "prediction"))

    def score(weights: np.ndarray) -> np.ndarray:
        total = weights.sum(axis=1, keepdims=True)
        x, y = (ranks(weights) for ranks in (gold, preds))
        x, y = (values - (weights * values).sum(axis=1, keepdims=True) / total for values in (x, y))
        scale = np.sqrt((weights * x * x).sum(axis=1) * (weights * y * y).sum(axis=1))
        return _divide((weights * x * y).sum(axis=1), scale)

    return score


def _ranks(values: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Return a function from weights to the rank of each value in each sample, float64 [r, n]."""
    order = np.argsort(values, kind="stable")
    _, first, group = np.unique(values[order], return_index=True, return_inverse=True)
    group_of = np.empty(len(values), int)
    group_of[order] = group

    def ranks(weights: np.ndarray) -> np.ndarray:
        equal = np.add.reduceat(weights[:, order], first, axis=1)
        return (np.cumsum(equal, axis=1) - equal + (equal + 1) / 2)[:, group_of]

    return ranks


def _divide(numerators: np.ndarray, denominators: np.ndarray) -> np.ndarray:
    """Return the quotients, and 0 if the denominator is 0."""
    return np.divide(numerators, denominators, out=np.zeros_like(denominators), where=denominators > 0)


def _weighted_mean(values: np.ndarray) -> WeightedScore:
    numbers = np.asarray(values, float)
    return lambda weights: weights @ numbers / weights.sum(axis=1)


def column_mean(name: str) -> Callable[[Columns], WeightedScore]:
    """Return the weighted form of a mean over a column that holds a score per question."""
    return lambda columns: _weighted_mean(np.array(columns[name], float))


@dataclass(frozen=True)
class Metric:
    """How a metric is computed, displayed and resampled. A new metric needs one row of METRICS and nothing else."""

    compute: Callable[[Any, Any], Scores]  # labels, preds -> scores
    headline: str  # the score that selects checkpoints, unless a task names another one
    scores: Mapping[str, str]  # name of a score -> display name; scores without one are displayed by their name
    # Score -> its weighted form, from the columns of predictions.tsv. `compare` leaves out scores without one.
    weighted: Mapping[str, Callable[[Columns], WeightedScore]] = field(default_factory=dict)
    scale: float = 1.0  # a perfect score
    rounding: float = 1e-9  # tolerance of the weighted form, as a share of `scale`: predictions.tsv holds rounded numbers


METRICS: Mapping[str, Metric] = {
    "accuracy": Metric(accuracy, "acc", {}, {"acc": weighted_accuracy}),
    "macro_f1": Metric(macro_f1, "f1", {"f1": "F1"}, {"f1": weighted_macro_f1}),
    "correlation": Metric(
        correlation,
        "spearmanr",
        {"spearmanr": "spearman"},
        {"spearmanr": weighted_spearman},
        rounding=1e-3,  # predictions are written with six digits, which creates ties
    ),
    # Compared by the score over all words: which words `f1` leaves out depends on the model's tokenizer.
    "entity_f1": Metric(
        entity_f1,
        "f1",
        {"f1": "F1", "f1_full": "F1 (all words)"},
        {"f1_full": weighted_entity_f1},
    ),
    "answer_f1": Metric(
        answer_f1,
        "f1",
        {"exact_match": "EM", "f1": "F1"},
        {"exact_match": column_mean("exact_match"), "f1": column_mean("f1")},
        scale=100.0,
    ),
}  # fmt: skip


def in_percent(task: Task, score: float) -> float:
    """Return a score of the task in percent of a perfect one."""
    return 100 * score / METRICS[task.metric].scale


def display_name(task: Task, score: str) -> str:
    """Return how tables show a score of the task: `F1` for `f1`."""
    return METRICS[task.metric].scores.get(score, score)
