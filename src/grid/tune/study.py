"""The trials of a search, in a journal of Optuna that survives a kill: which values to try, which trials to prune, the best one.

Needs the packages of requirements-tune.txt.
"""

import json
import os
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.pruners import MedianPruner
from optuna.samplers import TPESampler
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial

from src.common.errors import ConfigError
from src.common.files import hold
from src.grid.tune.space import Space, is_whole
from src.runs.journal import JOURNAL, NAME, count_states, storage_of

optuna.logging.set_verbosity(optuna.logging.ERROR)  # this project logs what matters

LOCK = ".study.lock"
CONDITIONS = "conditions"  # attribute of a study: what its trials have in common
REASON = "reason"  # attribute of a failed trial
DIRECTION = StudyDirection.MAXIMIZE  # every headline of src.metrics.metrics is better if it is higher
RANDOM_TRIALS = 5  # before Optuna chooses by what it has learned
# A trial may be pruned once this many trials are finished, and it has made this share of its updates.
PRUNED_AFTER_TRIALS, PRUNED_FROM = 5, 30


class Study:
    """The trials of a model on a task. Trials are known by their numbers."""

    def __init__(self, folder: Path, space: Space, seed: int, conditions: Mapping[str, Any], usual: Mapping[str, Any]) -> None:
        """Open or create the study in `folder`. conditions: what its trials have in common, as JSON.

        usual: the values without a search. The first trial has them where the space contains them, so that the result is hardly
        worse than they are.

        Raises CheckpointError if another process uses the study, ConfigError if it was made under other conditions.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self.lock = hold(folder / LOCK, "/".join(folder.parts[-3:]))  # until this process ends
        _remove_torn_line(folder / JOURNAL)
        self.seed = seed
        self.distributions = {setting: _distribution(setting, entry) for setting, entry in space.items()}
        self.usual = {name: value for name, value in usual.items() if _contains(self.distributions[name], value)}
        pruner = MedianPruner(n_startup_trials=PRUNED_AFTER_TRIALS, n_warmup_steps=PRUNED_FROM)
        self._study = optuna.create_study(
            storage=storage_of(folder), study_name=NAME, direction=DIRECTION, pruner=pruner, load_if_exists=True
        )
        now = json.loads(json.dumps(conditions))
        if not self.trials:
            self._study.set_user_attr(CONDITIONS, now)
        elif changes := _changes(self._study.user_attrs.get(CONDITIONS, {}), now):
            self.close()
            raise ConfigError(
                f"{folder} holds a search with other conditions: {'; '.join(changes)}. Use the same, or move the folder away to "
                "start a new search."
            )

    def close(self) -> None:
        """Let other processes use the study, before this one ends."""
        os.close(self.lock)

    @property
    def trials(self) -> list[FrozenTrial]:
        """All trials, by number."""
        return self._study.get_trials(deepcopy=False)

    def ask(self) -> FrozenTrial:
        """Choose the values of a new trial, and start it.

        They depend on the seed, the trial's number and the trials before it alone, so a search that was killed continues as if it
        had not been. The trial enters the journal complete, in one line.
        """
        sampler_seed = np.random.SeedSequence([self.seed, len(self.trials)]).generate_state(1)
        sampler = TPESampler(n_startup_trials=RANDOM_TRIALS, seed=int(sampler_seed[0]))
        scratch = optuna.create_study(direction=DIRECTION, sampler=sampler)
        scratch.add_trials(self.trials)
        if not self.trials:
            scratch.enqueue_trial(self.usual)
        drawn = scratch.ask(self.distributions).params
        values = {name: _on_grid(self.distributions[name], value) for name, value in drawn.items()}
        self._study.add_trial(create_trial(state=TrialState.RUNNING, params=values, distributions=self.distributions))
        return self.trials[-1]

    def report(self, number: int, points: Mapping[int, float]) -> bool:
        """Record scores of a running trial, by the percentage of its updates; return whether to prune it.

        The answer depends on the scores alone, and not on how often this is called.
        """
        known = self.trials[number].intermediate_values
        trial = Trial(self._study, self.trials[number]._trial_id)
        if known and trial.should_prune():
            return True
        for percent in sorted(points.keys() - known.keys()):
            trial.report(points[percent], percent)
            if trial.should_prune():
                return True
        return False

    def finish(self, number: int, score: float) -> None:
        """End a trial with its score."""
        self._study.tell(number, score)

    def prune(self, number: int) -> None:
        """End a trial that was pruned."""
        self._study.tell(number, state=TrialState.PRUNED)

    def fail(self, number: int, reason: str) -> None:
        """End a trial that failed."""
        Trial(self._study, self.trials[number]._trial_id).set_user_attr(REASON, reason)
        self._study.tell(number, state=TrialState.FAIL)

    @property
    def unfinished(self) -> list[FrozenTrial]:
        """The trials that have started and not ended."""
        return [trial for trial in self.trials if trial.state == TrialState.RUNNING]

    @property
    def best(self) -> FrozenTrial | None:
        """The finished trial with the best score, the earliest on ties; None if none is finished."""
        finished = [trial for trial in self.trials if trial.state == TrialState.COMPLETE]
        return max(finished, key=lambda trial: (trial.value or 0.0, -trial.number), default=None)

    @property
    def counts(self) -> dict[str, int]:
        """Number of trials by how they ended."""
        return count_states(self.trials)


def _remove_torn_line(journal: Path) -> None:
    """Remove what a killed process has left of its last line, and of its lock: the next line would be appended to it."""
    journal.with_name(f"{journal.name}.lock").unlink(missing_ok=True)
    if journal.exists():
        content = journal.read_bytes()
        with open(journal, "r+b") as stream:
            stream.truncate(content.rfind(b"\n") + 1)


def _contains(distribution: BaseDistribution, value: Any) -> bool:
    if isinstance(distribution, FloatDistribution | IntDistribution):
        return distribution.low <= value <= distribution.high and _on_grid(distribution, value) == value
    return isinstance(distribution, CategoricalDistribution) and value in distribution.choices


def _on_grid(distribution: BaseDistribution, value: Any) -> Any:
    """Return a value of a range as low + k * step, computed in decimals: 0.9 rather than 0.8999999999999999."""
    if not isinstance(distribution, FloatDistribution | IntDistribution) or distribution.step is None:
        return value
    low, step = Decimal(str(distribution.low)), Decimal(str(distribution.step))
    return type(distribution.low)(low + round((Decimal(str(value)) - low) / step) * step)


def _distribution(name: str, entry: Any) -> BaseDistribution:
    if isinstance(entry, list):
        return CategoricalDistribution(entry)
    low, high, log = entry["low"], entry["high"], entry.get("log", False)
    if is_whole(name):
        return IntDistribution(low, high, log=log, step=entry.get("step", 1))
    return FloatDistribution(low, high, log=log, step=entry.get("step"))


def _changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return what differs between two objects of objects."""
    changes = []
    for group in {**before, **now}:
        old, new = before.get(group, {}), now.get(group, {})
        names = [name for name in {**old, **new} if old.get(name) != new.get(name)]
        changes += [f"{group}: {name} {old.get(name)!r}, now {new.get(name)!r}" for name in names]
    return changes
