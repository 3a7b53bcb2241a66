"""The processes of one run, as torchrun or accelerate launch start them: rank 0 leads, the others follow (src.training.follower).

The leader runs a command as a single process does. What has to happen on every rank it announces with `tell`, and then makes with
the others: `tell` names the function that followers run; in them it does nothing. With a single process all functions here do
nothing, and torch.distributed is not imported.
"""

import functools
import json
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from src.common import launcher
from src.common.errors import ConfigError, EnvironmentFailure, brief

if TYPE_CHECKING:
    from torch import Tensor

BACKENDS = {"cpu": "gloo", "cuda": "cpu:gloo,cuda:nccl"}  # type of device -> how gradients are summed
NO_LIMIT = timedelta(days=365)  # followers wait while the leader downloads and builds features
SECONDS_BETWEEN_LOOKS = 0.1  # for the leader to join
BUCKET = 2**24  # numbers that are summed at a time

# Entries of the launcher's key-value store.
BACKEND = "backend"  # set when the leader joins; empty if it ends without that
FAILURE = "failure"  # the first follower that failed: rank, message, exit code

P = ParamSpec("P")
R = TypeVar("R")

_store: Any = None  # of the launcher
_watch: Any = None  # the process group in which followers wait for the leader to say `stop`, or to end
_stopped = threading.Event()


class RankFailed(EnvironmentFailure):
    """Another process of this run failed or has ended."""


# -- beginning and end -----------------------------------------------------------------------------------------------------


def join(device_type: str) -> None:
    """Connect all processes, once the leader is here, and use this process's own device of a type.

    Raises ConfigError if this machine has fewer devices than processes, or its devices cannot exchange gradients.
    """
    if launcher.count() == 1:
        return
    if device_type not in BACKENDS:
        raise ConfigError(f"several processes cannot train on {device_type} devices. Start one, or pass --no_cuda.")
    if device_type != "cpu":
        _use_own_device(device_type)
    if launcher.rank() == 0 and _store is None:
        with _group():
            _meet().set(BACKEND, BACKENDS[device_type])
            _connect(BACKENDS[device_type])


def _use_own_device(device_type: str) -> None:
    import torch

    module = torch.get_device_module(device_type)
    own = int(os.environ.get("LOCAL_RANK", launcher.rank()))
    needed, found = max(own + 1, int(os.environ.get("LOCAL_WORLD_SIZE", 1))), module.device_count()
    if needed > found:
        raise ConfigError(f"{needed} processes on this machine, but {found} GPUs. Start as many as there are, or pass --no_cuda.")
    module.set_device(own)


def await_leader() -> bool:
    """Wait without a limit until the leader joins, and connect; return False if it ends without that."""
    backend = ""
    with suppress(RuntimeError):  # the store is gone, and with it the leader or the launcher
        store = _meet()
        while not store.check([BACKEND]):
            time.sleep(SECONDS_BETWEEN_LOOKS)
        if backend := store.get(BACKEND).decode():
            _connect(backend)
            threading.Thread(target=_watch_leader, daemon=True).start()
    return bool(backend)


def end() -> None:
    """Let the followers end, as the last act of the leader."""
    if launcher.count() == 1 or launcher.rank() > 0:
        return
    with suppress(RuntimeError):  # if the launcher has ended, so have they
        if _store is None:
            _meet().set(BACKEND, "")
        else:
            from torch import distributed

            distributed.destroy_process_group()


def _meet() -> Any:
    """Connect to the launcher's store and return it."""
    global _store
    from torch.distributed import rendezvous

    _store, _, _ = next(rendezvous("env://", launcher.rank(), launcher.count(), timeout=NO_LIMIT))
    return _store


def _connect(backend: str) -> None:
    global _watch
    from torch import distributed

    store = distributed.PrefixStore("group", _store)
    distributed.init_process_group(backend, store=store, rank=launcher.rank(), world_size=launcher.count(), timeout=NO_LIMIT)
    _watch = distributed.new_group(backend="gloo", timeout=NO_LIMIT)


def _watch_leader() -> None:
    """End this follower at once when the leader's connection closes, whatever it is doing; note when the leader says `stop`."""
    import torch
    from torch import distributed

    with suppress(RuntimeError):
        while True:
            distributed.recv(torch.zeros(1), src=0, group=_watch)
            _stopped.set()
    os._exit(0)


# -- failures --------------------------------------------------------------------------------------------------------------


def report_failure(message: str, exit_code: int) -> None:
    """Leave a message for the leader, which finds it when this process has ended. The first one counts."""
    _store.compare_set(FAILURE, "", json.dumps([launcher.rank(), message, exit_code]))


@contextmanager
def _group() -> Iterator[Any]:
    """Yield torch.distributed; turn the error of a connection that has closed into RankFailed."""
    from torch import distributed

    try:
        yield distributed
    except RuntimeError as error:
        failed = RankFailed(f"a process of this run has ended ({brief(error)}). Run the same command again to resume.")
        with suppress(RuntimeError):
            if _store and _store.check([FAILURE]):
                rank, message, exit_code = json.loads(_store.get(FAILURE))
                failed = RankFailed(f"rank {rank} of {launcher.count()}: {message}")
                failed.exit_code = exit_code
        raise failed from None


def stop() -> None:
    """Tell the followers to leave out the rest of what they are doing: they see `stopped`."""
    import torch

    with _group() as group:
        for follower in range(1, launcher.count()):
            group.send(torch.zeros(1), dst=follower, group=_watch)


def stopped() -> bool:
    """Return whether the leader has said `stop` to this follower."""
    return _stopped.is_set()


# -- work on every rank ----------------------------------------------------------------------------------------------------


def tell(operation: Callable[..., object], *arguments: Any) -> None:
    """Tell the followers what to run next: operation(follower, *arguments). Does nothing in a follower, and if there is none.

    It travels by its name. `follower` is a src.training.finetune.Follower.
    """
    if launcher.count() > 1 and launcher.rank() == 0:
        _broadcast((operation, arguments))


def listen() -> tuple[Callable[..., object], tuple[Any, ...]]:
    """Return what the leader tells this follower to run, and the arguments after the first."""
    message: tuple[Callable[..., object], tuple[Any, ...]] = _broadcast(None)
    return message


def _broadcast(message: Any) -> Any:
    messages = [message]
    with _group() as group:
        group.broadcast_object_list(messages, src=0)
    return messages[0]


def on_every_rank(method: Callable[P, R]) -> Callable[P, R]:
    """Decorate a method of TrainState, without keyword arguments, that followers run on their own when the leader calls it."""

    @functools.wraps(method)
    def call(*arguments: P.args, **keywords: P.kwargs) -> R:
        tell(_call_of_state, call, *arguments[1:])
        return method(*arguments, **keywords)

    return call


def _call_of_state(follower: Any, method: Callable[..., object], *arguments: Any) -> None:
    method(follower.state, *arguments)


def scatter(values: Sequence[Any]) -> Any:
    """Return this rank's entry of the leader's `values`, one for each rank."""
    if launcher.count() == 1:
        return values[0]
    received = [None]
    with _group() as group:
        group.scatter_object_list(received, list(values) if launcher.rank() == 0 else None, src=0)
    return received[0]


def gather(value: R) -> list[R]:
    """Return the values of all ranks, by rank, to the leader; an empty list to a follower."""
    if launcher.count() == 1:
        return [value]
    values: list[Any] | None = [None] * launcher.count() if launcher.rank() == 0 else None
    with _group() as group:
        group.gather_object(value, values, dst=0)
    return values or []


def any_rank(flags: Sequence[bool]) -> list[bool]:
    """Return for each flag whether it is true on any rank."""
    if launcher.count() == 1:
        return list(flags)
    import torch

    numbers = torch.tensor(flags, dtype=torch.uint8)
    with _group() as group:
        group.all_reduce(numbers, group.ReduceOp.MAX)
    return [bool(number) for number in numbers]


def sum_in_place(tensors: Iterable["Tensor"]) -> None:
    """Replace tensors, of the same shapes on every rank, by their sums over all ranks, the same bits everywhere."""
    if launcher.count() == 1:
        return
    import torch

    for bucket in _buckets(tensors):
        flat = torch.cat([tensor.flatten() for tensor in bucket])
        with _group() as group:
            group.all_reduce(flat)
        for tensor, values in zip(bucket, flat.split([tensor.numel() for tensor in bucket]), strict=True):
            tensor.copy_(values.view_as(tensor))


def _buckets(tensors: Iterable["Tensor"]) -> Iterator[list["Tensor"]]:
    """Yield tensors in groups of about BUCKET numbers."""
    bucket: list[Tensor] = []
    for tensor in tensors:
        if bucket and sum(other.numel() for other in bucket) + tensor.numel() > BUCKET:
            yield bucket
            bucket = []
        bucket.append(tensor)
    yield bucket
