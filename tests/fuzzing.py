"""schemathesis against the whole running product: requests made of `/api/schema`, all checks, in every phase.

    python -m tests.fuzzing 600     for so many seconds, with a new seed, as the administrator and in turn as every other role

A run ends with what was found, each with the command that shows it again.
"""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import tempfile
from pathlib import Path

from aurora.roles import ROLES
from tests.group import ROOT, RunningGroup

HOOKS = "tests.schemathesis_hooks"
EXCLUDED = "positive_data_acceptance,negative_data_rejection,not_a_server_error"
"""The hooks have them with what the domain may refuse, what a form cannot say, and what the run itself takes away."""


def run(group: RunningGroup, role: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """One run of schemathesis as a caller of that role; its report is in `stdout`."""
    header = f"Authorization: Bearer {group.token()}" if role == "admin" else f"X-API-Key: {_key(group, role)}"
    command = ["run", f"{group.base}/api/schema", "--header", header, "--exclude-checks", EXCLUDED, *arguments]
    with tempfile.TemporaryDirectory() as folder:
        return subprocess.run(
            [sys.executable, "-m", "schemathesis.cli", *command],
            cwd=folder,
            env=os.environ | {"SCHEMATHESIS_HOOKS": HOOKS, "PYTHONPATH": str(ROOT), "NO_COLOR": "1"},
            capture_output=True,
            text=True,
            check=False,
        )


def main(seconds: int) -> int:
    others = [role for role in ROLES if role != "admin"]
    seed = secrets.randbelow(2**31)
    with tempfile.TemporaryDirectory(prefix="aurora-fuzz-") as folder:
        group = RunningGroup(Path(folder, "data"))
        try:
            group.start()
            failed = 0
            for role, share in [("admin", seconds * 2 // 3), *((role, seconds // 3 // len(others)) for role in others)]:
                done = run(group, role, "--max-time", str(share), "--seed", str(seed), "--continue-on-failure")
                sys.stdout.write(f"=== as {role}, seed {seed}\n{done.stdout}{done.stderr}")
                sys.stdout.flush()
                failed += done.returncode != 0
        finally:
            group.stop()
    return failed


def _key(group: RunningGroup, role: str) -> str:
    with group.api() as api:
        made = api.post("/auth/api-keys", json={"name": f"schemathesis as {role}", "role": role})
    made.raise_for_status()
    return str(made.json()["key"])


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
