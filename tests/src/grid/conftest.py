from types import SimpleNamespace

import pytest


@pytest.fixture
def stopped_clock(monkeypatch):
    """The time at which runs are looked at."""
    monkeypatch.setattr("src.grid.pool.time", SimpleNamespace(monotonic=lambda: 1000.0))
    return 1000.0
