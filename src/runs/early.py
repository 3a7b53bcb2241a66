"""What can be known about a run before its model is loaded: that its folder can be written, and that its lengths fit together."""

import os
from pathlib import Path

from src.common.errors import CheckpointError, EnvironmentFailure
from src.common.files import DAMAGE, read_json
from src.runs.folder import RunFolder
from src.settings.lengths import LEAST_SPECIAL, require_overlap, too_long
from src.settings.schema import counts_for


def check_early(run: RunFolder, kind: str) -> None:
    """Raise what would otherwise be found when the model is loaded, seconds or a download later.

    kind: that of the task. Raises EnvironmentFailure for a folder that cannot be written, ModelError for a max_seq_len beyond
    the positions of a local model, and ConfigError for a doc_stride that would skip tokens.
    """
    settings = run.settings
    if counts_for("doc_stride", kind):
        require_overlap(settings, LEAST_SPECIAL, at_least=True)
    if not run.has_checkpoints:
        limit = _positions(Path(settings.model_name_or_path))
        if limit and settings.max_seq_len > limit:
            raise too_long(settings, settings.model_name_or_path, limit)
    if not settings.features_only:
        _require_writable(run.folder)


def _positions(model: Path) -> int:
    """Return the positions in the config of a model's folder; 0 if it names none, or there is no such folder."""
    try:
        return max(0, int(read_json(model / "config.json").get("max_position_embeddings") or 0))
    except (CheckpointError, *DAMAGE, OSError):  # what is wrong with the file is found when it is loaded
        return 0


def _require_writable(folder: Path) -> None:
    """Raise EnvironmentFailure if a folder, or the one in which it would be made, cannot be written. Nothing is made."""
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    if existing.is_dir() and os.access(existing, os.W_OK | os.X_OK):
        return
    reason = "Permission denied"
    if not existing.is_dir():
        reason = f"{existing} is not a folder"
    elif os.statvfs(existing).f_flag & os.ST_RDONLY:
        reason = "Read-only file system"
    raise EnvironmentFailure(f"{folder} cannot be written: {reason}. Choose another --ckpt_dir.")
