# SPDX-License-Identifier: Apache-2.0
"""Interleaved rounds, CPU per request from /proc, paired ratios with a bootstrap interval.

Only ratios within one run mean anything: the subject and its peers take turns on the same machine, the
measured process alone on one core, load generator and backend on the other. As root all of them run at
raised priority, so that other work on the machine disturbs little.

Environment: ISTHMESH_BENCH_ROUNDS (scenario's own number), ISTHMESH_BENCH_BUILD (build/main).
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
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

ROOT = pathlib.Path(__file__).resolve().parent.parent
RESULTS = ROOT / "bench" / "results"
BUILD = ROOT / os.environ.get("ISTHMESH_BENCH_BUILD", "build/main")
TICK = os.sysconf("SC_CLK_TCK")
SUBJECT_CORE, LOAD_CORE = 0, 1
BODY = 1024


class Failed(Exception):
    """A sentence for people: a peer that is missing, a subject that answered wrongly."""


def rounds(default: int) -> int:
    return int(os.environ.get("ISTHMESH_BENCH_ROUNDS", default))


def program(name: str) -> str:
    """A program of this repository, from the build folder."""
    for folder in ("src/bin", "bench"):
        if (BUILD / folder / name).exists():
            return str(BUILD / folder / name)
    raise Failed(f"{name} is not built in {BUILD}")


def version(argv: list[str]) -> str:
    try:
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
    except OSError as error:
        raise Failed(f"{argv[0]} is not installed: {error.strerror}") from error
    return (done.stdout + done.stderr).splitlines()[0]


# --- processes -------------------------------------------------------------------------------------

@dataclasses.dataclass
class Subject:
    """A program under measurement: how to start it, where it listens, what it is."""
    name: str
    argv: list[str]
    port: int
    version: str = ""
    configuration: str = ""


def pinned(argv: list[str], core: int) -> list[str]:
    priority = ["nice", "-n", "-15"] if os.geteuid() == 0 else []
    return ["taskset", "-c", str(core), *priority, *argv]


def children(pid: int) -> list[int]:
    try:
        direct = [int(p) for p in pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []
    return direct + [grandchild for child in direct for grandchild in children(child)]


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


def private_bytes(pid: int) -> int:
    """Memory that only this process and its children have: what ends when they end."""
    total = 0
    for entry in [pid, *children(pid)]:
        text = pathlib.Path(f"/proc/{entry}/smaps_rollup").read_text()
        total += sum(int(kib) for kib in re.findall(r"^Private_\w+: +(\d+) kB", text, re.MULTILINE))
    return total * 1024


class Process:
    """A program on a core of its own, ended by its id however the block ends."""

    def __init__(self, argv: list[str], core: int, ready_port: int | None = None):
        self.log = tempfile.TemporaryFile()
        self.process = subprocess.Popen(pinned(argv, core), stdout=self.log, stderr=self.log)
        self.pid = self.process.pid
        if ready_port is not None:
            self.wait(ready_port)

    def wait(self, port: int) -> None:
        for _ in range(200):
            if self.process.poll() is not None:
                break
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                return
            except OSError:
                time.sleep(0.05)
        self.log.seek(0)
        said = self.log.read().decode(errors="replace")[-1000:]
        self.stop()
        raise Failed(f"port {port} does not answer: {said}")

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(2)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.log.close()

    def __enter__(self) -> "Process":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


# --- load ------------------------------------------------------------------------------------------

# A load takes a subject, runs for a bounded time and returns how many units of work were done.
Load = Callable[[Subject], float]


def run_load(argv: list[str], seconds: float) -> str:
    return subprocess.run(pinned(argv, LOAD_CORE), capture_output=True, text=True, check=True, timeout=seconds + 30).stdout


def wrk(connections: int, seconds: int = 1, scheme: str = "http", unit_bytes: int = 0) -> Load:
    """Requests over kept connections; with unit_bytes, answers in units of so many bytes."""
    def load(subject: Subject) -> float:
        out = run_load(["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", f"{scheme}://127.0.0.1:{subject.port}/"], seconds)
        errors = sum(int(n) for n in re.findall(r"(?:Non-2xx or 3xx responses|connect|read|write|timeout):? (\d+)", out))
        if errors:
            raise Failed(f"{subject.name} answered {errors} requests wrongly")
        requests = int(re.search(r"(\d+) requests in", out).group(1))
        if not unit_bytes:
            return requests
        size, unit = re.search(r"in [\d.]+s, ([\d.]+)(\w?B) read", out).groups()
        return float(size) * {"B": 1, "KB": 2**10, "MB": 2**20, "GB": 2**30}[unit] / unit_bytes
    return load


def h2load(connections: int, streams: int, seconds: int = 1, scheme: str = "http") -> Load:
    def load(subject: Subject) -> float:
        out = run_load(["h2load", "-t1", f"-c{connections}", f"-m{streams}", f"-D{seconds}",
                        f"{scheme}://127.0.0.1:{subject.port}/"], seconds)
        done, failed, errored = re.search(r"(\d+) succeeded, (\d+) failed, (\d+) errored", out).groups()
        if int(failed) or int(errored):
            raise Failed(f"{subject.name} answered {failed} + {errored} requests wrongly")
        return int(done)
    return load


def new_connections(*options: str, seconds: int = 1) -> Load:
    """New connections with one request each; options as bench/connect.c has them."""
    def load(subject: Subject) -> float:
        out = json.loads(run_load([program("connect"), "rate", f"127.0.0.1:{subject.port}", str(seconds), *options], seconds))
        if out["errors"]:
            raise Failed(f"{out['errors']} connections to {subject.name} failed")
        wanted = out["connections"] if "--resume" in options else 0
        if abs(out["resumed"] - wanted) > 4:  # the first one of each thread
            raise Failed(f"{subject.name} resumed {out['resumed']} of {out['connections']} connections, wanted {wanted}")
        return out["connections"]
    return load


# --- numbers ---------------------------------------------------------------------------------------

def ratio(ours: list[float], theirs: list[float], seed: int = 1) -> dict:
    """Median of the paired ratios and its 95 % bootstrap interval."""
    pairs = [a / b for a, b in zip(ours, theirs)]
    dice = random.Random(seed)
    medians = sorted(statistics.median(dice.choices(pairs, k=len(pairs))) for _ in range(2000))
    return {"median": round(statistics.median(pairs), 3), "low": round(medians[50], 3), "high": round(medians[1949], 3)}


def machine() -> dict:
    model = next((line.split(":")[1].strip() for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines()
                  if line.startswith("model name")), "unknown")
    commit = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()
    return {"cpu": model, "cores": os.cpu_count(), "kernel": platform.release(), "commit": commit,
            "load_average": round(os.getloadavg()[0], 1)}


class Scenario:
    """Collects cases, prints each with its verdicts, and leaves everything in bench/results/NAME.json."""

    def __init__(self, name: str):
        self.result: dict = {"scenario": name, "machine": machine(), "versions": {}, "cases": []}
        self.name = name

    def cpu(self, case: str, subjects: list[Subject], load: Load, count: int, targets: dict[str, float | None],
            ours: str = "isthmesh", unit: str = "request") -> dict[str, list[float]]:
        """CPU µs per unit: subjects take turns, the first one changes; then ours beside each of targets."""
        values: dict[str, list[float]] = {s.name: [] for s in subjects}
        processes: dict[str, Process] = {}
        try:
            for subject in subjects:
                processes[subject.name] = Process(subject.argv, SUBJECT_CORE, subject.port)
                if subject.version:
                    self.result["versions"][subject.name] = subject.version
            for subject in subjects:
                load(subject)  # warm
            for number in range(count):
                start = number % len(subjects)
                for subject in subjects[start:] + subjects[:start]:
                    pid = processes[subject.name].pid
                    before = precise_cpu_seconds(pid)
                    done = load(subject)
                    if done == 0:
                        raise Failed(f"{subject.name} did nothing within a round")
                    values[subject.name].append(round((precise_cpu_seconds(pid) - before) / done * 1e6, 2))
        finally:
            for process in processes.values():
                process.stop()
        self.compare(case, values, targets, ours, f"µs of CPU per {unit}")
        return values

    def compare(self, case: str, values: dict[str, list[float]], targets: dict[str, float | None], ours: str = "isthmesh",
                unit: str = "") -> None:
        """Prints and records ours beside each peer; a target is the highest ratio wanted, None: for information."""
        medians = {name: round(statistics.median(v), 2) for name, v in values.items()}
        row = {"case": case, "unit": unit, "medians": medians, "ratios": {}, "rounds": values}
        print(f"{case}: " + ", ".join(f"{name} {median:g}" for name, median in medians.items()) + f" {unit}")
        for peer, target in targets.items():
            if peer in values:
                row["ratios"][peer] = {**ratio(values[ours], values[peer]), "target": target}
                self.verdict(row["ratios"][peer], f"of {peer}")
        self.result["cases"].append(row)

    def verdict(self, summary: dict, what: str) -> None:
        text = f"  {summary['median']:.2f} {what} ({summary['low']:.2f} to {summary['high']:.2f})"
        if summary["target"] is not None:
            summary["met"] = summary["median"] <= summary["target"]
            text += f", target {summary['target']:.2f} {'met' if summary['met'] else 'MISSED'}"
        print(text, flush=True)

    def absolute(self, case: str, what: str, value: float, target: float, unit: str) -> None:
        met = value <= target
        self.result["cases"].append({"case": case, "what": what, "value": round(value, 2), "target": target, "unit": unit, "met": met})
        print(f"  {what}: {value:.2f} {unit}, target {target:g} {'met' if met else 'MISSED'}", flush=True)

    def save(self) -> None:
        text = json.dumps(self.result, indent=1, ensure_ascii=False)
        text = re.sub(r"\[[\d\s.,-]+\]", lambda match: re.sub(r"\s+", " ", match.group()), text)
        RESULTS.mkdir(parents=True, exist_ok=True)
        (RESULTS / f"{self.name}.json").write_text(text + "\n")


def run(main: Callable[[Scenario], None], name: str) -> int:
    """The main program of a scenario: a missing peer or a wrong answer is a sentence and exit status 1."""
    scenario = Scenario(name)
    try:
        main(scenario)
    except (Failed, subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 1
    scenario.save()
    return 0
