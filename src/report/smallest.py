"""The smallest difference between two models that the runs and rows of a column can show."""

from collections.abc import Iterator, Mapping, Sequence

from src.common.errors import CheckpointError
from src.data.task import Task
from src.metrics.uncertainty import assess
from src.report.compare import score_runs
from src.report.record import Record
from src.report.table import Smallest

SAMPLES = 1_000  # of the rows: the error of a standard deviation is 2 %
VIEW = "selected"


def smallest_differences(task: Task, name: str, runs: Mapping[str, Sequence[Record]]) -> Iterator[Smallest]:
    """Yield the smallest differences between the two best models of a task, a line per score that can be compared.

    runs: model -> its runs on the task. None is yielded for models without predictions, or with those of other rows.
    """
    means = {model: sum(record.percent(VIEW, task, task.headline) for record in of) / len(of) for model, of in runs.items()}
    best = sorted(runs, key=lambda model: (-means[model], model))[:2]
    if len(best) < 2:
        return
    first, second = (list(runs[model]) for model in best)
    try:
        scores = list(score_runs(task, (first, second), VIEW, SAMPLES))
    except CheckpointError:
        return
    for score, pair, rows in scores:
        if smallest := assess(*pair).smallest:
            yield Smallest(name, score, smallest, (best[0], best[1]), (len(first), len(second)), rows)
