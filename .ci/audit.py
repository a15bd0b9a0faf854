"""Known vulnerabilities of what is installed. It tells "none" from "there was nobody to ask".

Where no list of them can be reached, pip-audit ends well, having audited nothing, or ends badly, as if it had found
something. Ends with 1 where something is known, with 0 otherwise, and says which of the two it was.
"""

import json
import subprocess
import sys
from typing import Any

SERVICES = ("pypi", "osv")
"""Asked in turn until one of them knows a package."""
COMMAND = ["-m", "pip_audit", "--local", "--skip-editable", "--progress-spinner", "off", "--format", "json"]


def main() -> int:
    """Ask, and say what was found."""
    for service in SERVICES:
        asked = subprocess.run(
            [sys.executable, *COMMAND, "--vulnerability-service", service], capture_output=True, text=True, check=False
        )
        audited, skipped, known = read_report(asked.stdout)
        if known:
            print("\n".join(["audit: known vulnerabilities", *known]))
            return 1
        if audited:
            print(f"audit: nothing known of {audited} packages; {skipped} are not on {service} and were not audited")
            return 0
        print(f"audit: {service} cannot be asked: {_last_line(asked.stderr) or 'it knows none of the packages'}")
    print("audit: NOTHING WAS AUDITED. Run `make audit` where pypi.org or api.osv.dev can be reached.")
    return 0


def read_report(text: str) -> tuple[int, int, list[str]]:
    """Of pip-audit's JSON, which is empty where it failed.

    Returns:
        How many packages were audited, how many were not, and a line for each vulnerability.
    """
    if not text.strip():
        return 0, 0, []
    packages: list[dict[str, Any]] = json.loads(text)["dependencies"]
    audited = [package for package in packages if "vulns" in package]
    known = [
        f"  {package['name']} {package['version']}: {one['id']}, mended in {', '.join(one['fix_versions']) or 'none'}"
        for package in audited
        for one in package["vulns"]
    ]
    return len(audited), len(packages) - len(audited), known


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1] if lines and "Error" in lines[-1] else ""


if __name__ == "__main__":
    sys.exit(main())
