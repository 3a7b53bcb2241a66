"""The features of a split: token ids without padding."""

from dataclasses import dataclass, field

import numpy as np

IGNORE_INDEX = -100  # label id of a token without a label; losses and metrics skip it

# Marks of a window's tokens: outside the context; in the context; in the context, and no other window shows the token with more
# context around it. An answer may begin only at MAX_CONTEXT and must end inside the context.
NOT_CONTEXT, IN_CONTEXT, MAX_CONTEXT = 0, 1, 2

Tensors = dict[str, np.ndarray]

# Tensors of Features with one entry per token; all others but `offsets` have one entry per row.
TOKEN_TENSORS = frozenset({"input_ids", "token_type_ids", "label_ids", "char_start", "char_end", "context_marks"})


@dataclass(frozen=True)
class Features:
    """Token ids of n rows without padding: flat arrays of `total` tokens, and where each row starts.

    | tensor | dtype, shape | kinds | content |
    | :--- | :--- | :--- | :--- |
    | `input_ids` | int32 [total] | all | token ids, special tokens included |
    | `token_type_ids` | uint8 [total] | all | segment of each token |
    | `offsets` | int64 [n + 1] | all | row i has the tokens offsets[i] to offsets[i + 1] |
    | `labels` | int64 [n] / float32 [n] | classification / regression | label id / score of each row |
    | `labels` | float32 [n, labels] | multi_label | 1 for each label of a row, else 0 |
    | `label_ids` | int32 [total] | tagging | label id of the first token of each word, IGNORE_INDEX elsewhere |
    | `start_positions`, `end_positions` | int32 [n] | span | first and last token of the answer in the window, 0 if not in it |
    | `example_index` | int32 [n] | span | the question that a window belongs to |
    | `char_start`, `char_end` | int32 [total] | span | the token's characters in the context, -1 outside of it |
    | `context_marks` | uint8 [total] | span | NOT_CONTEXT, IN_CONTEXT or MAX_CONTEXT |
    | `cut` | int32 [n] | all | tokens cut off the row (tagging: words; span: tokens cut off the question) |
    | `decomposed` | uint8 [n] | all | 1 if a text of the row had decomposed Hangul, see src.data.hangul |
    """

    tensors: Tensors
    counts: dict[str, int] = field(default_factory=dict)  # what was left out, for the log

    def __len__(self) -> int:
        return len(self.tensors["offsets"]) - 1

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of each row, int64 [n]."""
        return np.diff(self.tensors["offsets"])

    def subset(self, rows: np.ndarray) -> "Features":
        """Return the given rows (int64 [m]) in the given order."""
        tokens = self.positions(rows)
        chosen = {
            name: values[tokens if name in TOKEN_TENSORS else rows] for name, values in self.tensors.items() if name != "offsets"
        }
        return Features(chosen | {"offsets": np.concatenate([[0], np.cumsum(self.lengths[rows])])})

    def positions(self, rows: np.ndarray) -> np.ndarray:
        """Return the positions of the tokens of the given rows (int64 [m]) in the flat arrays, int64 [tokens]."""
        lengths = self.lengths[rows]
        ends = np.cumsum(lengths)
        return np.arange(lengths.sum()) + np.repeat(self.tensors["offsets"][rows] - (ends - lengths), lengths)
