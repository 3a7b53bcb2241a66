"""Look up the locked packages in the index's list of known vulnerabilities, with pip-audit in a virtual environment of its own.

Exit codes: 0 no vulnerability is known, or the lookup was skipped, with the reason; 1 there are vulnerabilities.
"""

import json
import re
import subprocess
import sys
import tempfile
import venv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PLACE = ROOT / ".venv" / "audit"
PIP_AUDIT = "pip-audit==2.10.1"


def pins(text: str) -> list[str]:
    """Return the `name==version` of each package in a requirements or lock file."""
    return re.findall(r"^[\w.-]+==[\w.!+-]+", text, re.MULTILINE)


def judge(report: Mapping[str, Any]) -> tuple[int, list[str]]:
    """Return the exit code and the lines that say what pip-audit's JSON report means."""
    packages = report["dependencies"]
    unknown = [package["name"] for package in packages if "skip_reason" in package]
    if len(unknown) == len(packages):
        return 0, ["audit skipped: the package index does not answer questions about vulnerabilities"]
    lines = [
        f"{package['name']} {package['version']}: {found['id']}, fixed in {', '.join(found['fix_versions']) or 'no version yet'}"
        for package in packages
        for found in package.get("vulns", ())
    ]
    about = f"; not in the index: {', '.join(unknown)}" if unknown else ""
    return int(bool(lines)), [*lines, f"{len(packages) - len(unknown)} packages audited, {len(lines)} vulnerabilities{about}"]


def main() -> int:
    """Audit requirements.lock, and torch, which is not in it; print the result and return the exit code."""
    if not (PLACE / "bin" / "pip-audit").exists():
        venv.create(PLACE, with_pip=True)
        install = [str(PLACE / "bin" / "python"), "-m", "pip", "install", "--quiet", PIP_AUDIT]
        if subprocess.run(install, stderr=subprocess.DEVNULL).returncode != 0:
            print(f"audit skipped: {PIP_AUDIT} cannot be installed")
            return 0
    torch = [pin for pin in pins((ROOT / "requirements.txt").read_text()) if pin.startswith("torch==")]
    with tempfile.TemporaryDirectory() as folder:
        packages, output = Path(folder) / "packages.txt", Path(folder) / "report.json"
        packages.write_text("\n".join([*pins((ROOT / "requirements.lock").read_text()), *torch]))
        files = ["-o", str(output), "-r", str(packages)]
        command = [str(PLACE / "bin" / "pip-audit"), "--disable-pip", "--no-deps", "-f", "json", *files]
        done = subprocess.run(command, stderr=subprocess.PIPE, text=True)
        if not output.exists():
            print("audit skipped:", (done.stderr.strip().splitlines() or ["pip-audit has ended without a report"])[-1])
            return 0
        code, lines = judge(json.loads(output.read_text()))
    print("\n".join(lines))
    return code


if __name__ == "__main__":
    sys.exit(main())
