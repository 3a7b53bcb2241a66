"""The one reader of JSON that others have written: settings, tasks, weights, records of a run, rows of data."""

import codecs
import json
from collections import Counter
from pathlib import Path
from typing import Any, NoReturn

from src.common.errors import quote

UTF_16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def parse_json(text: str) -> Any:
    """Return the value of a JSON text, which may begin with a byte order mark.

    Raises ValueError, also if a key occurs twice in an object, of which Python would keep the last, for NaN and Infinity, and for
    too many levels.
    """
    try:
        return DECODER.decode(text.removeprefix("\ufeff"))
    except RecursionError as error:
        raise ValueError(f"too many levels: {error}") from None


def load_json(path: Path) -> Any:
    """Return the value in a JSON file in UTF-8, or in UTF-16 as PowerShell writes it.

    Raises OSError, and ValueError, see `parse_json`.
    """
    content = path.read_bytes()
    return parse_json(content.decode("utf-16" if content.startswith(UTF_16_MARKS) else "utf-8"))


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return the object of these pairs. Raises ValueError if a key occurs twice."""
    record = dict(pairs)
    if len(record) < len(pairs):
        key, times = Counter(key for key, _ in pairs).most_common(1)[0]
        raise ValueError(f"the key {quote(key)} occurs {times} times in an object")
    return record


def _reject(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not a number of JSON")


DECODER = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_reject)
