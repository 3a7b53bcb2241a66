"""A follower: a process of a run that does what the leader tells it (src.training.ranks). It reads and writes no file."""

import gc
import logging
import os
import signal
from collections.abc import Mapping
from typing import Any

from src.common.errors import BenchmarkError, brief
from src.common.launcher import OtherRanks
from src.common.signals import SIGNALS
from src.data.features import Features
from src.data.task import Task
from src.settings.schema import Settings
from src.training import ranks


def follow() -> None:
    """Follow the leader until it ends, then end this process without a word; leave the leader a message if something fails here.

    Until the leader joins, signals end this process. Then they are ignored: the leader gets them, too, and saves the state.
    """
    logging.disable()
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "FATAL")  # torch would warn when the leader ends
    for number in SIGNALS:
        signal.signal(number, signal.SIG_DFL)
    # Imported here, as torch takes seconds: while the leader reads its data.
    from src.training.finetune import explained_failures

    if ranks.await_leader():
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        try:
            with explained_failures():
                _work()
        except ranks.RankFailed:
            pass  # the leader or another follower has ended
        except BaseException as error:
            ranks.report_failure(*_describe(error))
    os._exit(0)  # the leader's exit code is that of the run; a thread still waits for it


def _work() -> None:
    follower = Follower()
    while True:
        operation, arguments = ranks.listen()
        getattr(follower, operation)(*arguments)


def _describe(error: BaseException) -> tuple[str, int]:
    """Return the message and the exit code of an error; where it was raised, if it is a bug."""
    if isinstance(error, BenchmarkError):
        return str(error), error.exit_code
    place = error.__traceback__
    while place and place.tb_next:
        place = place.tb_next
    where = f" ({place.tb_frame.f_code.co_filename}, line {place.tb_lineno})" if place else ""
    return f"{type(error).__name__}: {brief(error)}{where}", 1


class Follower:
    """What a follower has, and one method for each operation that the leader tells."""

    def __init__(self) -> None:
        self.state: Any = None  # a TrainState, in training
        self.task_model: Any = None  # the weights that `predict` uses

    def train(self, settings: Settings, task: Task, model: Any, weights: Mapping[str, float] | None, features: Features) -> None:
        """Get ready to train `model`, as the leader does; random numbers are this rank's own."""
        from src.training.finetune import wrap_model
        from src.training.start import start_device
        from src.training.state import TrainState

        accelerator = start_device(settings)
        self.state = TrainState(wrap_model(model, settings, task, accelerator, weights), features, accelerator)
        self.state.set_random_state({})
        self.task_model = self.state.task_model

    def score(self, settings: Settings, task: Task, model: Any) -> None:
        """Get ready to predict with the weights of a checkpoint."""
        from src.training.finetune import evaluation_model
        from src.training.start import start_device

        self.state = self.task_model = None
        gc.collect()  # the memory of the weights before is free before these get theirs
        self.task_model = evaluation_model(model, settings, task, start_device(settings))

    def predict(self, budget: int) -> None:
        from src.training.evaluate import predict_share

        predict_share(self.task_model, budget)

    def advance(self) -> None:
        self.state.advance()

    def random_states(self) -> None:
        self.state.random_states()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.state.load_state_dict(state)


OTHERS = OtherRanks(follow, ranks.end)
