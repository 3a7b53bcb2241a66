"""Generated inputs: broken bytes, wrong JSON values, and how many of them a test sees."""

import hypothesis
import pytest
from hypothesis import strategies as st

NASTY_BYTES = [
    b"\t", b"\n", b"\r\n", b"\x00", b"\xff", b"\xed\xa0\x80", b"\xef\xbb\xbf", b"\x1c", b'"', b"{", b"]", b" ",
    "가".encode() * 999,
]  # fmt: skip

VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.integers(-3, 3), st.floats(), st.text(max_size=8), st.just(10**30),
    st.just("1e400"), st.lists(st.integers(), max_size=2), st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
)  # fmt: skip

# Tests take `share`: in `make test-long` seven times as many inputs.
few_or_many = pytest.mark.parametrize("share", [1, pytest.param(7, marks=pytest.mark.long)], ids=["few", "many"])


def check_generated(share, cases, strategy, check):
    """Call `check` with share * cases values of a strategy."""
    settings = hypothesis.settings(max_examples=share * cases, deadline=20_000, database=None, derandomize=share == 1)
    settings(hypothesis.given(strategy)(check))()


@st.composite
def damaged(draw, content):
    """Return `content` with parts cut out, overwritten, repeated, or bytes inserted; or any bytes at all."""
    if draw(st.integers(0, 9)) == 0:
        return draw(st.binary(max_size=300))
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(content)))
        end = draw(st.integers(start, min(len(content), start + 40)))
        between = draw(st.one_of(st.sampled_from(NASTY_BYTES), st.binary(max_size=4), st.just(content[start:end] * 2)))
        content = content[:start] + between + content[end:]
    return content


def places_in(value, path=()):
    """Yield the path of every place in a JSON value."""
    yield path
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, member in inner:
        yield from places_in(member, (*path, key))


def replaced(value, path, new):
    """Return a JSON value with `new` at a place."""
    if not path:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = replaced(value[path[0]], path[1:], new)
    return copy
