import pytest

from tests.conftest import ROOT
from tools.audit import judge, pins

GOOD = {"name": "numpy", "version": "2.4.6", "vulns": []}
BAD = {
    "name": "jinja2",
    "version": "3.1.0",
    "vulns": [{"id": "CVE-1", "fix_versions": ["3.1.3"]}, {"id": "CVE-2", "fix_versions": []}],
}
UNKNOWN = {"name": "torch", "skip_reason": "Dependency not found on PyPI"}


@pytest.mark.parametrize(
    ("packages", "code", "expected"),
    [
        ([GOOD], 0, ["1 packages", "0 vuln"]),
        ([GOOD, UNKNOWN], 0, ["1 packages", "torch"]),
        ([GOOD, BAD], 1, ["jinja2 3.1.0", "CVE-1", "3.1.3", "CVE-2", "2 vuln"]),
        ([UNKNOWN, UNKNOWN], 0, ["skipped"]),  # pip-audit says "No known vulnerabilities"
    ],
)
def test_what_a_report_means(packages, code, expected):
    actual, lines = judge({"dependencies": packages})
    assert actual == code
    assert all(part in "\n".join(lines) for part in expected)
    assert ("audited" in lines[-1]) == (expected != ["skipped"])


def test_pins():
    text = "# x==1\n-r y.txt\na-b.c==1.0.post1 \\\n    --hash=sha256:ab\nD==2!3+cpu  # why\n"
    assert pins(text) == ["a-b.c==1.0.post1", "D==2!3+cpu"]


def test_the_lock_has_every_required_version_but_torch():
    """With the hashes of files in the public index, which a local build of torch is not; and nothing about any machine."""
    text = (ROOT / "requirements.lock").read_text()
    locked = {pin.lower().replace("_", "-") for pin in pins(text)}
    required = [pin for name in ("requirements.txt", "requirements-report.txt") for pin in pins((ROOT / name).read_text())]
    assert {pin.lower().replace("_", "-") for pin in required} - locked == {"torch==2.13.0"}
    assert text.count("==") == len(locked) <= text.count("--hash=sha256:")
    assert all(block.count("--hash=sha256:") for block in text.split("==")[1:])
    assert not [line for line in text.splitlines() if not line.startswith("#") and ("/" in line or "://" in line)]
