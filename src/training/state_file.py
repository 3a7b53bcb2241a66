"""The file format of a saved state of training: tensors in a safetensors file, everything else as JSON in its metadata.

A state is a dict of sections, {"meter": {"loss": tensor, "rows": 32}, "step": 5}. The tensors of a section are stored as
`<section>.<name>`, what remains of the sections as a JSON object. No pickle is involved.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

JSON = "facts"  # the entry of the metadata


def write_state(path: Path, state: Mapping[str, Any]) -> None:
    """Write a state to `path`. Raises OSError or SafetensorError if it cannot be written."""
    tensors: dict[str, Tensor] = {}
    rest: dict[str, Any] = {}
    for section, content in state.items():
        if not isinstance(content, Mapping):
            rest[section] = content
            continue
        tensors |= {f"{section}.{name}": value.contiguous() for name, value in content.items() if isinstance(value, Tensor)}
        others = {name: value for name, value in content.items() if not isinstance(value, Tensor)}
        if others or not content:
            rest[section] = others
    save_file(tensors, path, {JSON: json.dumps(rest)})


def read_state(path: Path) -> dict[str, Any]:
    """Return the state in a file, its tensors on the CPU. Raises one of DAMAGE if the file is damaged.

    The tensors are copies, not parts of the mapped file: network file systems cannot remove a file that is still in use.
    """
    with safe_open(path, "pt") as file:
        state: dict[str, Any] = json.loads(file.metadata()[JSON])
        for key in file.keys():  # noqa: SIM118
            section, _, name = key.partition(".")
            state.setdefault(section, {})[name] = file.get_tensor(key).clone()
    return state
