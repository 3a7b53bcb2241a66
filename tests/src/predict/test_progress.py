import io
import re
import sys

import pytest

from src.common import progress as bars
from src.predict.lines import Row
from src.predict.progress import RowProgress, count_lines


class Terminal(io.StringIO):
    def isatty(self):
        return True


def show_on_terminal(monkeypatch):
    """Make standard error a terminal, and return it. Not a fixture: pytest sets the stream again when a test begins."""
    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setattr(bars, "SECONDS_BETWEEN_BARS", 0)
    return stream


def shown_in(terminal):
    """How many rows were done, in the order in which the bar showed it."""
    return [int(done) for done in re.findall(r"\[(\d+)/", terminal.getvalue())]


def test_rows_of_all_chunks_count(monkeypatch):
    terminal = show_on_terminal(monkeypatch)
    chunks = [[Row(number, ["a"], "", []) for number in range(size)] for size in (4, 4, 2)]
    progress = RowProgress(10)
    for chunk in progress.follow(chunks):
        progress.show(2)
        progress.show(99)  # windows of questions
        progress.close()  # as the end of a chunk's prediction does
        assert len(chunk) in (2, 4)
    shown = shown_in(terminal)
    assert shown == sorted(shown) and {2, 4, 6, 8} <= set(shown)


def test_the_bar_is_removed_when_the_prediction_fails(monkeypatch):
    terminal = show_on_terminal(monkeypatch)
    rows = RowProgress(10).follow([[Row(1, ["a"], "", [])]])
    next(rows)
    assert not terminal.getvalue().endswith(" \r")
    with pytest.raises(RuntimeError):
        rows.throw(RuntimeError)
    assert terminal.getvalue().endswith(" \r")


@pytest.mark.parametrize(("content", "lines"), [(b"", 1), (b"a", 1), (b"a\nb", 2), (b"\n" * 3_000_000, 3_000_001)])
def test_counts_lines_of_large_files(tmp_path, content, lines):
    (tmp_path / "f").write_bytes(content)
    assert count_lines(tmp_path / "f") == lines
