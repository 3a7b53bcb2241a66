import io
import sys

from src.common.log import is_closed, is_terminal, usable_streams


def test_writes_characters_that_a_stream_cannot_encode(monkeypatch):
    content = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(content, encoding="ascii"))
    with usable_streams():
        print("한 \udcff", end="")
        sys.stdout.flush()
    assert content.getvalue() == rb"\ud55c \udcff"


def test_closed_streams_are_replaced(monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    with usable_streams():
        assert is_closed(sys.stdout) and is_closed(sys.stderr)
        print("한", flush=True)
        print("한", file=sys.stderr, flush=True)
    assert sys.stdout is sys.stderr is None


def test_streams_of_a_notebook():
    stream = io.StringIO()
    assert not is_terminal(stream) and not is_terminal(object())
    assert not is_closed(stream)
