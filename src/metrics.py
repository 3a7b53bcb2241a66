"""Metrics: pure functions (labels, preds) -> {name: value}. No torch.

scikit-learn, scipy and seqeval compute them, and are imported where they do: they take a second, which --help need not wait.
"""

import logging
import string
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

logger = logging.getLogger(__name__)

Scores = dict[str, float]


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


METRICS: Mapping[str, Callable[[Any, Any], Scores]] = {
    "accuracy": accuracy,
    "macro_f1": macro_f1,
    "correlation": correlation,
    "entity_f1": entity_f1,
    "answer_f1": answer_f1,
}
