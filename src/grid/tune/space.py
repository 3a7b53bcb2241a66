"""The search space of `tune`: the values of each setting that are tried, as a JSON file gives them. Imports nothing heavy."""

import hashlib
import json
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from src.common.errors import ConfigError, brief, list_problems, quote, quote_json
from src.common.strict_json import load_json
from src.settings.aliases import ALIASES, advise
from src.settings.command_line import NAMES, types_of
from src.settings.layers import convert, unusable
from src.settings.schema import Settings, affects, settings_of

# A setting -> [value, ...], {"low": ..., "high": ..., "log": true or "step": ...}, or {"base": one of these, "small": another}.
Space = Mapping[str, Any]

SIZES = ("base", "small")
SMALL = 384  # hidden size up to which a model counts as small: such models learn with higher rates
RANGE = {"low", "high", "log", "step"}
WITHOUT_EFFECT = {"max_steps": "num_train_epochs"}  # a setting that is given -> one that has no effect then


def is_tunable(name: str) -> bool:
    """Return whether a setting may be in a space."""
    return name in settings_of("method") and affects(name) in ("training", "scores")


def read_space(path: Path, fixed: Collection[str] = ()) -> Space:
    """Return the space in a file, without the settings that are `fixed`. Raises ConfigError with all problems."""
    try:
        content = load_json(path)
        if not isinstance(content, dict):
            raise TypeError("not a JSON object")
    except (OSError, ValueError, TypeError) as error:
        raise ConfigError(
            f"--space: {path} cannot be read: {brief(error)}. tune --print_space prints one to start from."
        ) from None
    if problems := [problem for name, entry in content.items() for problem in _problems(name, entry)]:
        raise ConfigError(list_problems(f"{path} is not a search space:", problems))
    fixed = {ALIASES.get(name, name) for name in fixed}
    fixed |= {other for name, other in WITHOUT_EFFECT.items() if name in fixed}
    space = {name: entry for name, entry in content.items() if name not in fixed}
    if not space:
        raise ConfigError(f"{path} leaves nothing to search: the command line sets all of {', '.join(content) or 'nothing'}.")
    return space


def _problems(name: str, entry: Any) -> Iterator[str]:
    if name not in Settings.model_fields:
        yield f"unknown setting {quote(name)}{advise(name, NAMES)}"
    elif not is_tunable(name):
        yield f"{name} cannot be searched: only settings of the training can"
    elif has_sizes(entry):
        for size in SIZES:
            yield from _entry_problems(f"{name}, {size}", name, entry[size])
    else:
        yield from _entry_problems(name, name, entry)


def _entry_problems(place: str, name: str, entry: Any) -> Iterator[str]:
    """Yield the problems of a list of choices or of a range."""
    if isinstance(entry, list):
        if len(set(map(json.dumps, entry))) < max(len(entry), 2):
            yield f"{place} = {quote_json(entry)}: should be at least two different values"
        yield from (f"{place}: {quote_json(value)}: {reason}" for value in entry if (reason := _problem(name, value)))
        return
    if not isinstance(entry, dict) or not {"low", "high"} <= entry.keys() <= RANGE:
        forms = '[value, ...], {"low": ..., "high": ...} with "log" or "step", or {"base": ..., "small": ...}'
        yield f"{place} = {quote_json(entry)}: should be {forms}"
        return
    low, high, log, step = entry["low"], entry["high"], entry.get("log"), entry.get("step")
    reasons = [_problem(name, value) or _not_number(value) for value in (low, high)]
    yield from (f"{place}: {quote_json(value)}: {why}" for value, why in zip((low, high), reasons, strict=True) if why)
    if any(reasons):
        return
    if low >= high:
        yield f"{place}: the range from {low} to {high} is empty"
    if log is not None and not isinstance(log, bool):
        yield f"{place}: log = {quote_json(log)}: should be true or false"
    elif log and (low <= 0 or step is not None):
        yield f"{place}: with log, low should be above 0, and there is no step"
    if step is not None and (_not_number(step) or step <= 0 or (is_whole(name) and isinstance(step, float))):
        yield f"{place}: step = {quote_json(step)}: should be a {'whole ' * is_whole(name)}number above 0"


def _problem(name: str, value: Any) -> str:
    """Return why a value cannot be one of setting `name`, or ""."""
    try:
        return unusable(name, convert(name, value, from_string=False))
    except ValidationError as error:
        return " or ".join(detail["msg"] for detail in error.errors()[:2])


def _not_number(value: Any) -> str:
    return "" if isinstance(value, int | float) and not isinstance(value, bool) else "should be a number"


def is_whole(name: str) -> bool:
    """Return whether the numbers that a setting may have are whole ones."""
    return float not in types_of(name)


def has_sizes(entry: Any) -> bool:
    """Return whether an entry of a space depends on the size of the model."""
    return isinstance(entry, dict) and entry.keys() == set(SIZES)


def for_hidden_size(space: Space, hidden_size: int) -> Space:
    """Return the space for a model of this width."""
    size = "small" if hidden_size <= SMALL else "base"
    return {name: entry[size] if has_sizes(entry) else entry for name, entry in space.items()}


def digest(space: Space) -> str:
    """Return a sha256 (hex digits) of a space."""
    return hashlib.sha256(json.dumps(space, sort_keys=True).encode()).hexdigest()
