# SPDX-License-Identifier: Apache-2.0
"""Interleaved rounds, CPU per request from /proc, paired ratios with a bootstrap interval.

Only ratios within one run mean anything: the subject and its peers take turns on the same machine, the
measured process alone on one core, load generator and backend on the other.
"""
from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import platform
import random
import re
import signal
import statistics
import subprocess
import tempfile
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent
RESULTS = ROOT / "bench" / "results"
TICK = os.sysconf("SC_CLK_TCK")


@dataclasses.dataclass
class Subject:
    """A program under measurement: how to start it, where it listens, what it is."""
    name: str
    argv: list[str]
    port: int
    version: str
    configuration: str = ""


def cpu_seconds(pid: int) -> float:
    """User and system time of the process and all its threads and children that are alive."""
    total = 0.0
    for entry in [pid, *children(pid)]:
        try:
            fields = pathlib.Path(f"/proc/{entry}/stat").read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        total += (int(fields[11]) + int(fields[12])) / TICK
    return total


def precise_cpu_seconds(pid: int) -> float:
    """As cpu_seconds from schedstat where the kernel has it (nanoseconds), else ticks."""
    total = 0
    for entry in [pid, *children(pid)]:
        for task in pathlib.Path(f"/proc/{entry}/task").glob("*/schedstat"):
            try:
                total += int(task.read_text().split()[0])
            except (OSError, ValueError):
                return cpu_seconds(pid)
    return total / 1e9 if total else cpu_seconds(pid)


def children(pid: int) -> list[int]:
    try:
        direct = [int(p) for p in pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []
    return direct + [grandchild for child in direct for grandchild in children(child)]


class Process:
    """A program on a core of its own, ended by its id however the block ends."""

    def __init__(self, argv: list[str], core: int, ready_port: int | None = None):
        self.log = tempfile.TemporaryFile()
        self.process = subprocess.Popen(["taskset", "-c", str(core), *argv], stdout=self.log, stderr=self.log)
        self.pid = self.process.pid
        if ready_port is not None:
            self.wait(ready_port)

    def wait(self, port: int) -> None:
        for _ in range(100):
            if self.process.poll() is not None:
                break
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=1).read()
                return
            except OSError:
                time.sleep(0.05)
        self.log.seek(0)
        said = self.log.read().decode(errors="replace")[-1000:]
        self.stop()
        raise RuntimeError(f"port {port} does not answer: {said}")

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def __enter__(self) -> "Process":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def wrk(port: int, connections: int, seconds: float, core: int) -> tuple[int, int]:
    """(requests answered, errors) of a bounded run."""
    out = subprocess.run(["taskset", "-c", str(core), "wrk", "-t1", f"-c{connections}", f"-d{seconds:g}s", f"http://127.0.0.1:{port}/"],
                         capture_output=True, text=True, check=True, timeout=seconds + 30).stdout
    requests = int(re.search(r"(\d+) requests in", out).group(1))
    errors = sum(int(n) for n in re.findall(r"(?:Non-2xx or 3xx responses|connect|read|write|timeout):? (\d+)", out))
    return requests, errors


def ratio(ours: list[float], theirs: list[float], seed: int = 1) -> dict:
    """Median of the paired ratios and its 95 % bootstrap interval."""
    pairs = [a / b for a, b in zip(ours, theirs)]
    dice = random.Random(seed)
    medians = sorted(statistics.median(dice.choices(pairs, k=len(pairs))) for _ in range(2000))
    return {"median": statistics.median(pairs), "low": medians[50], "high": medians[1949]}


def machine() -> dict:
    model = next((line.split(":")[1].strip() for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines()
                  if line.startswith("model name")), "unknown")
    commit = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()
    return {"cpu": model, "cores": os.cpu_count(), "kernel": platform.release(), "commit": commit}


def save(name: str, result: dict) -> None:
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps({"machine": machine(), **result}, indent=1) + "\n")
