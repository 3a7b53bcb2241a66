from types import SimpleNamespace

import pytest


@pytest.fixture
def stopped_clock(monkeypatch):
    """Stop the clock of the pool at the returned time."""
    monkeypatch.setattr("src.grid.pool.time", SimpleNamespace(monotonic=lambda: 1000.0))
    return 1000.0
