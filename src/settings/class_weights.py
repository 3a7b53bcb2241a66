"""The weights of labels in the loss of training, for data in which some labels are rare."""

import math
from collections.abc import Callable, Mapping

import numpy as np

from src.common.errors import ConfigError, did_you_mean, list_problems, quote, quote_json
from src.common.strict_json import load_json
from src.data.task import Features, Task
from src.settings.schema import NO_WEIGHTS, Settings, counts_for

Weights = dict[str, float]  # by label, in the order of ids


def label_weights(settings: Settings, task: Task, features: Features) -> Weights | None:
    """Return the weight of each label by the setting `class_weights`, or None if all losses count the same.

    features: those of the training rows. Raises ConfigError, see given_weights.
    """
    if settings.class_weights == NO_WEIGHTS or not counts_for("class_weights", task.kind):
        return None
    if given := given_weights(settings, task):
        return given
    names = list(task.labels or ())
    return dict(zip(names, BALANCE[task.kind](features.tensors["labels"], len(names)).tolist(), strict=True))


def given_weights(settings: Settings, task: Task) -> Weights | None:
    """Return the weights in the file that `class_weights` names, or None if it names none.

    Raises ConfigError if the file cannot be read, a label is unknown or missing, or a weight is not a positive number.
    """
    path = settings.weights_file
    if path is None or not counts_for("class_weights", task.kind):
        return None
    try:
        content = load_json(path)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else f"not JSON: {error}"
        raise ConfigError(f"class_weights: {path}: {reason}; expected none, balanced or a JSON file.") from None
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: found {quote_json(content)}, expected an object of label: weight.")
    labels = list(task.labels or content)
    problems = [f"unknown label {quote(name)}.{did_you_mean(name, labels)}" for name in content if name not in labels]
    problems += [f"the label {quote(name)} is missing" for name in labels if name not in content]
    problems += [
        f"{quote(name)}: found {quote_json(weight)}, expected a positive number"
        for name, weight in content.items()
        if type(weight) not in (int, float) or not 0 < weight < math.inf
    ]
    if problems:
        raise ConfigError(list_problems(f"{path}: the weights of labels are invalid:", problems))
    return {name: float(content[name]) for name in labels}


def _balanced_classes(labels: np.ndarray, count: int) -> np.ndarray:
    """Return scikit-learn's "balanced" weights, float64 [count]; 1 for a label without rows. labels int64 [n]."""
    from sklearn.utils.class_weight import compute_class_weight

    weights, present = np.ones(count), np.unique(labels)
    weights[present] = compute_class_weight("balanced", classes=present, y=labels)
    return weights


def _balanced_labels(labels: np.ndarray, count: int) -> np.ndarray:
    """Return rows without a label / rows with it, float64 [count]; 1 if there are none of either. labels float32 [n, count]."""
    positives = labels.sum(axis=0, dtype=np.float64)
    negatives = len(labels) - positives
    return np.divide(negatives, positives, out=np.ones(count), where=(positives > 0) & (negatives > 0))


# Keyed by src.data.task.Task.kind: labels of the training rows, number of labels -> weight of each label.
BALANCE: Mapping[str, Callable[[np.ndarray, int], np.ndarray]] = {
    "classification": _balanced_classes,
    "multi_label": _balanced_labels,
}
