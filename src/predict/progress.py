"""The progress of a prediction: rows that are done, while the chunks of an input are read and predicted."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from src.common.progress import Progress
from src.predict.lines import Row

BLOCK = 2**20  # bytes


class RowProgress(Progress):
    """Shows how many rows of an input are done. `show` and `close` are those of the chunk that is being predicted."""

    def __init__(self, total: int) -> None:
        super().__init__("rows", total)
        self.before = self.size = 0  # rows before the chunk, and in it

    def follow(self, chunks: Iterable[Sequence[Row]]) -> Iterator[Sequence[Row]]:
        """Yield the chunks of an input, and remove the display after the last one."""
        try:
            for chunk in chunks:
                self.size = len(chunk)
                yield chunk
                self.before += self.size
                if self.due():
                    super().show(self.before)
        finally:
            super().close()

    def show(self, done: int, comment: str = "") -> None:
        """Show that so many rows of the chunk are done; of questions, as many windows, at most all rows."""
        super().show(min(self.before + min(done, self.size), self.total), comment)

    def close(self) -> None:
        """Do nothing: there may be another chunk."""


def count_lines(path: Path) -> int:
    """Return the number of lines of a file; 1 for an empty one."""
    with open(path, "rb") as stream:
        return 1 + sum(block.count(b"\n") for block in iter(lambda: stream.read(BLOCK), b""))
