# SPDX-License-Identifier: Apache-2.0
"""What is missing or in the way is said in one line that names the next step, and leaves nothing behind."""
import os
import socket
import subprocess

import pytest

from crossing import BIN, ROOT

ISTHMESH = str(BIN / "isthmesh")
UP = [ISTHMESH, "lab", "up", "--name", "e2e-faults", "--clusters", "1"]


def fails(argv, *, env=None):
    """The one line a failing command says."""
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False, env=env)
    assert done.returncode != 0, done.stdout
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    return lines[0]


def without(program, argv):
    """argv in a mount namespace of its own where a program cannot be run, wherever it is looked for."""
    places = [f"{folder}/{program}" for folder in os.environ["PATH"].split(":") + ["/usr/sbin", "/sbin", "/usr/bin", "/bin"]]
    hide = "".join(f"[ ! -e {place} ] || mount --bind /dev/null {place}; " for place in dict.fromkeys(places))
    return ["unshare", "--mount", "--propagation", "private", "sh", "-c", hide + 'exec "$@"', "sh", *argv]


def test_not_root():
    said = fails(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", *UP])
    assert "root" in said and "sudo" in said


@pytest.mark.parametrize("program", ["nft", "runc"])
def test_missing_program(program):
    said = fails(without(program, UP))
    assert program in said and "apt-get install" in said


def test_missing_kubectl():
    done = subprocess.run(without("kubectl", [str(ROOT / "demo/crossing")]), capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode != 0
    assert "kubectl" in done.stderr and "make setup" in done.stderr


def test_port_in_use():
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        said = fails([*UP, "--api-port", str(port)])
        assert str(port) in said and "--api-port" in said


@pytest.mark.parametrize("arguments, want", [
    (["lab", "up", "--clusters", "0"], "--clusters"),
    (["lab", "up", "--pod-cidr", "10.244.0.1/16"], "--pod-cidr"),
    (["lab", "up", "--colour"], "--colour"),
    (["lab", "exec", "--name", "e2e-none", "a/b", "--", "true"], "e2e-none"),
    (["nonsense"], "nonsense"),
])
def test_wrong_usage(arguments, want):
    assert want in fails([ISTHMESH, *arguments])


def test_down_without_a_lab_is_fine():
    done = subprocess.run([ISTHMESH, "lab", "down", "--name", "e2e-none"], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr
