# SPDX-License-Identifier: Apache-2.0
"""The demo does what it says, and leaves nothing behind: at its end, when interrupted, when its lab is killed."""
import os
import pathlib
import signal
import subprocess

from crossing import ROOT, Crossing
from leftovers import sights, wait_nothing_left

DEMO = str(ROOT / "demo" / "crossing")


def test_the_demo_holds_and_leaves_nothing():
    before = sights("demo")
    done = subprocess.run([DEMO], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert done.stdout.splitlines()[-1] == "9 of 9 steps hold"
    wait_nothing_left("demo", before)


def test_an_interrupted_demo_leaves_nothing():
    before = sights("demo")
    with subprocess.Popen([DEMO], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as demo:
        for line in demo.stdout:
            if line.startswith("[ 3]"):  # the clusters run, their control planes are being installed
                demo.send_signal(signal.SIGINT)
                break
        _, said = demo.communicate(timeout=60)
    assert demo.returncode == 130, said
    assert "interrupted" in said
    wait_nothing_left("demo", before)


def test_a_killed_world_is_cleaned_by_down():
    before = sights("e2e-killed")
    with Crossing("e2e-killed", cluster_count=1) as crossing:
        crossing.up()
        crossing.clusters[0].apply_file("samples/sleep/sleep.yaml")
        crossing.clusters[0].wait_rollout("default", "sleep")
        os.kill(int(pathlib.Path("/run/isthmesh/lab-e2e-killed/world.pid").read_text().split()[0]), signal.SIGKILL)
    wait_nothing_left("e2e-killed", before)
