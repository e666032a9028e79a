# SPDX-License-Identifier: Apache-2.0
"""What a lab could leave on the machine, as seen from outside it: taken before and after, both must agree."""
from __future__ import annotations

import pathlib
import subprocess
import time


def _out(*argv: str) -> str:
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout


def _processes() -> set[str]:
    """Our programs and the runtime's helpers that run anywhere on the machine."""
    found = set()
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                name = (entry / "comm").read_text().strip()
            except OSError:
                continue
            if name.startswith(("isthmesh", "runc", "helloworld")):
                found.add(f"{name}[{entry.name}]")
    return found


def sights(name: str) -> dict:
    """Everything by which the lab of that name could show."""
    return {
        "processes": _processes(),
        "links": set(line.split(": ")[1] for line in _out("ip", "-o", "link").splitlines()),
        "mounts": set(line.split()[4] for line in pathlib.Path("/proc/self/mountinfo").read_text().splitlines()),
        "tables": set(_out("nft", "list", "tables").splitlines()),
        "cgroups": set(str(p) for p in pathlib.Path("/sys/fs/cgroup").glob(f"**/*isthmesh*{name}*")),
        "state": set(str(p) for p in pathlib.Path("/run/isthmesh").glob(f"lab-{name}*")),
    }


def wait_nothing_left(name: str, before: dict, timeout: float = 15) -> None:
    """Until nothing is there that was not there before; AssertionError names what stays."""
    deadline = time.monotonic() + timeout
    while True:
        left = {kind: now - before[kind] for kind, now in sights(name).items() if now - before[kind]}
        if not left:
            return
        assert time.monotonic() < deadline, f"left behind: {left}"
        time.sleep(0.2)
