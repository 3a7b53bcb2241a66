"""Lengths that must fit together: what is known without a tokenizer or a model."""

from src.common.errors import ConfigError, ModelError
from src.settings.schema import Settings

LEAST_SPECIAL = 3  # special tokens of a question and a context: before, between and after them


def require_overlap(settings: Settings, special: int, at_least: bool = False) -> None:
    """Raise ConfigError if doc_stride would skip tokens, which are then in no window.

    special: number of special tokens in a window; at_least: there may be more.
    """
    room = settings.max_seq_len - settings.max_query_length - special
    if settings.doc_stride > room:
        raise ConfigError(
            f"doc_stride = {settings.doc_stride} would skip tokens: max_seq_len = {settings.max_seq_len} less max_query_length = "
            f"{settings.max_query_length} less {'at least ' * at_least}{special} special tokens leaves room for {room} tokens of "
            "the context. Use a smaller --doc_stride or --max_query_length, or a larger --max_seq_len."
        )


def too_long(settings: Settings, name: str, limit: int) -> ModelError:
    """Return the error for a max_seq_len beyond the limit of a model with this name."""
    return ModelError(
        f"max_seq_len = {settings.max_seq_len} ({settings.layer_of('max_seq_len')}), but {name} supports at most {limit} tokens. "
        f"Pass --max_seq_len {limit} or less."
    )
