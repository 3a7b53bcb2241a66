"""Lengths that must fit together: what is known without a tokenizer or a model."""

from src.common.errors import ModelError
from src.settings.schema import Settings

LEAST_SPECIAL = 3  # special tokens of a question and a context: before, between and after them


def too_long(settings: Settings, name: str, limit: int) -> ModelError:
    """Return the error for a max_seq_len beyond the limit of a model with this name."""
    return ModelError(
        f"max_seq_len = {settings.max_seq_len} ({settings.layer_of('max_seq_len')}), but {name} supports at most {limit} tokens. "
        f"Pass --max_seq_len {limit} or less."
    )
