"""Metrics: pure functions (labels, preds) -> {name: value}, and METRICS, the table of all metrics. No torch.

scikit-learn, scipy and seqeval are imported inside the functions that use them: importing them takes a second, and --help
does not need them.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from typing import Any

import numpy as np

from src.data.task import Scores, Task, ends_with_position
from src.metrics.answers import answer_f1, answer_rouge
from src.metrics.characters import character_f1, weighted_character_f1, weighted_entity_macro_f1
from src.metrics.weighted import (
    SIMILAR,
    Columns,
    WeightedScore,
    weighted_accuracy,
    weighted_column,
    weighted_entity_f1,
    weighted_label_f1,
    weighted_macro_f1,
    weighted_pearson,
    weighted_relation_f1,
    weighted_similar_f1,
    weighted_spearman,
)

logger = logging.getLogger(__name__)


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


def choice_f1(labels: np.ndarray, preds: np.ndarray) -> Scores:
    """Return the scores of `macro_f1` and `accuracy` of the numbers of the right choices. Both int [n]."""
    return macro_f1(labels, preds) | accuracy(labels, preds)


def multi_label_f1(labels: np.ndarray, preds: np.ndarray) -> Scores:
    """Return `micro_f1`, `macro_f1` and `samples_f1` (0..1). Both [n, labels], 1 for each label of a row, else 0.

    They are over all pairs of row and label, the mean over labels, and the mean over rows. A label that is in no row and never
    predicted has F1 0, a row without labels for which none is predicted has F1 1.
    """
    from sklearn.metrics import f1_score

    zero_division = {"micro": 0.0, "macro": 0.0, "samples": 1.0}
    return {
        f"{average}_f1": float(f1_score(labels.astype(int), preds.astype(int), average=average, zero_division=value))
        for average, value in zero_division.items()
    }


def relation_f1(labels: np.ndarray, preds: np.ndarray) -> Scores:
    """Return `micro_f1` (0..1) over all labels but the first one, which says that there is no relation. Both int [n].

    As KLUE-RE is scored (klue_baseline/metrics/functional.py, klue_re_micro_f1).
    """
    from sklearn.metrics import f1_score

    relations = np.union1d(labels, preds)
    relations = relations[relations != 0]
    if not len(relations):
        return {"micro_f1": 0.0}
    return {"micro_f1": float(f1_score(labels, preds, labels=relations, average="micro", zero_division=0.0))}


def area_under_precision_recall(labels: np.ndarray, probabilities: np.ndarray) -> Scores:
    """Return `auprc` (0..1): the mean over labels of the area under the curve of precision and recall, by the trapezoidal rule.

    labels int [n], probabilities float [n, labels]. As KLUE-RE is scored (klue_re_auprc), but for labels that no row has: they
    are left out, where the baseline's mean is undefined.
    """
    from sklearn.metrics import auc, precision_recall_curve

    areas = []
    for label in np.unique(labels):
        precision, recall, _ = precision_recall_curve(labels == label, probabilities[:, label])
        areas.append(auc(recall, precision))
    return {"auprc": float(np.mean(areas))}


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


def similarity(labels: np.ndarray, preds: np.ndarray) -> Scores:
    """Return the scores of `correlation`, and `f1` (0..1) of the class of scores from SIMILAR on, as KLUE-STS is scored.

    Both float [n], on a scale from 0 to 5.
    """
    from sklearn.metrics import f1_score

    f1 = f1_score(np.asarray(labels) >= SIMILAR, np.asarray(preds) >= SIMILAR, zero_division=0.0)
    return {**correlation(labels, preds), "f1": float(f1)}


Tags = list[list[str]]  # sentences of word tags: "PER-B", "PER-I", "O"


def entity_f1(gold: Tags, preds: Tags) -> Scores:
    """Return `f1`, `precision`, `recall` (0..1) over whole entities, by seqeval as the published scores are."""
    from seqeval.metrics import f1_score, precision_score, recall_score

    options = {"suffix": ends_with_position(chain(*gold, *preds)), "zero_division": 0}
    return {
        "f1": float(f1_score(gold, preds, **options)),
        "precision": float(precision_score(gold, preds, **options)),
        "recall": float(recall_score(gold, preds, **options)),
    }


def entity_report(gold: Tags, preds: Tags) -> str:
    """Return seqeval's table of scores by entity type, empty if there are no entities."""
    from seqeval.metrics import classification_report
    from seqeval.metrics.sequence_labeling import get_entities

    suffix = ends_with_position(chain(*gold, *preds))
    if not get_entities([*gold, *preds], suffix=suffix):  # seqeval raises ValueError
        return ""
    return str(classification_report(gold, preds, suffix=suffix, zero_division=0, digits=4))


@dataclass(frozen=True)
class Metric:
    """How a metric is computed, displayed and resampled. A new metric needs one row of METRICS and nothing else."""

    compute: Callable[[Any, Any], Scores]  # labels, preds -> scores
    headline: str  # the score that selects checkpoints, unless a task names another one
    scores: Mapping[str, str]  # name of a score -> display name; scores without one are displayed by their name
    # Score -> its weighted form, from the columns of predictions.tsv. `compare` leaves out scores without one.
    weighted: Mapping[str, Callable[[Columns], WeightedScore]] = field(default_factory=dict)
    scale: float = 1.0  # a perfect score
    signed: tuple[str, ...] = ()  # scores that can be as low as -scale; all others begin at 0
    rounding: float = 1e-9  # tolerance of the weighted form, as a share of `scale`: it adds numbers in another order
    # Further scores, from labels and the probability of every label. They have no weighted form.
    of_probabilities: Callable[[np.ndarray, np.ndarray], Scores] | None = None
    first_label: str = ""  # what the first label is called that it leaves out, where a definition does not name the labels
    numbered_by: str = ""  # the column of predictions.tsv with the row's number, if a row has several lines
    kind: str = "classification"  # of the tasks that it scores


METRICS: Mapping[str, Metric] = {
    "accuracy": Metric(accuracy, "acc", {}, {"acc": weighted_accuracy}),
    "macro_f1": Metric(macro_f1, "f1", {"f1": "F1"}, {"f1": weighted_macro_f1}),
    "choice_f1": Metric(
        choice_f1,
        "f1",
        {"f1": "F1", "acc": "accuracy"},
        {"f1": weighted_macro_f1, "acc": weighted_accuracy},
        kind="multiple_choice",
    ),
    "relation_f1": Metric(
        relation_f1,
        "micro_f1",
        {"micro_f1": "micro F1", "auprc": "AUPRC"},
        {"micro_f1": weighted_relation_f1},
        of_probabilities=area_under_precision_recall,
        first_label="no_relation",
    ),
    "multi_label_f1": Metric(
        multi_label_f1,
        "micro_f1",
        {"micro_f1": "micro F1", "macro_f1": "macro F1", "samples_f1": "samples F1"},
        {f"{average}_f1": partial(weighted_label_f1, average=average) for average in ("micro", "macro", "samples")},
        kind="multi_label",
    ),
    "correlation": Metric(
        correlation,
        "spearmanr",
        {"spearmanr": "spearman"},
        {"spearmanr": weighted_spearman},
        signed=("pearson", "spearmanr", "corr"),
        rounding=1e-6,
        kind="regression",
    ),
    "similarity": Metric(
        similarity,
        "pearson",
        {"pearson": "Pearson", "f1": "F1"},
        {"pearson": weighted_pearson, "f1": weighted_similar_f1},
        signed=("pearson",),
        rounding=1e-6,
        kind="regression",
    ),
    # Compared by the score over all words: which words `f1` leaves out depends on the model's tokenizer.
    "entity_f1": Metric(
        entity_f1,
        "f1",
        {"f1": "F1", "f1_full": "F1 (all words)"},
        {"f1_full": weighted_entity_f1},
        numbered_by="sentence",
        kind="tagging",
    ),
    "character_f1": Metric(
        character_f1,
        "entity_f1",
        {"entity_f1": "entity F1", "char_f1": "character F1", "char_f1_no_o": "character F1 without O"},
        {
            "entity_f1": weighted_entity_macro_f1,
            "char_f1": partial(weighted_character_f1, with_outside=True),
            "char_f1_no_o": partial(weighted_character_f1, with_outside=False),
        },
        numbered_by="sentence",
        kind="character_tagging",
    ),
    "answer_f1": Metric(
        answer_f1,
        "f1",
        {"exact_match": "EM", "f1": "F1"},
        {name: partial(weighted_column, name=name) for name in ("exact_match", "f1")},
        scale=100.0,
        kind="span",
    ),
    "answer_rouge": Metric(
        answer_rouge,
        "rouge",
        {"exact_match": "EM", "rouge": "ROUGE"},
        {name: partial(weighted_column, name=name) for name in ("exact_match", "rouge")},
        scale=100.0,
        kind="span",
    ),
}  # fmt: skip


def in_percent(task: Task, score: float) -> float:
    """Return a score of the task in percent of a perfect one."""
    return 100 * score / METRICS[task.metric].scale


def display_name(task: Task, score: str) -> str:
    """Return how tables show a score of the task: `F1` for `f1`."""
    return METRICS[task.metric].scores.get(score, score)
