# SPDX-License-Identifier: Apache-2.0
"""kubectl at work on a lab's pods: every kubectl at hand (the one on PATH and those of other versions beside it) runs the
same table of commands. Old ones speak SPDY, new ones WebSocket."""
import json
import os
import pathlib
import shutil
import subprocess
import time

import pytest

from crossing import Crossing, run
from lab_test import apply, pod, wait_ready


def kubectls() -> list[pathlib.Path]:
    found = pathlib.Path(shutil.which("kubectl") or "kubectl")
    beside = sorted(found.resolve().parent.glob("kubectl.1.*"), key=lambda path: int(path.name.rsplit(".", 1)[1]))
    return [found, *beside]


@pytest.fixture(scope="module")
def lab():
    with Crossing("e2e-kubectl", cluster_count=1) as crossing:
        crossing.up()
        cluster = crossing.clusters[0]
        say = "for i in 1 2 3; do echo out $i; echo err $i >&2; done; exec sleep infinity"
        two = pod("two", "for i in 1 2 3 4 5; do echo tick $i; sleep 0.1; done", grace=0, restartPolicy="Never")
        two["spec"]["containers"].append({"name": "other", "image": "busybox", "command": ["/bin/sh", "-c", "echo other; exec sleep infinity"]})
        failing = pod("failing", "echo try; exit 1", grace=0)
        waiting = pod("waiting", "true", grace=0, image="nowhere.example/unknown:1")
        apply(cluster, pod("one", say, grace=0), two, failing, waiting)
        wait_ready(cluster, "one")
        yield crossing


@pytest.fixture(params=kubectls(), ids=lambda path: path.name)
def kubectl(lab, request):
    def call(*arguments: str, stdin: str | None = None, check: bool = True) -> subprocess.CompletedProcess:
        return run([request.param, "--kubeconfig", lab.kubeconfig, "--context", lab.clusters[0].context, *arguments],
                   stdin=stdin, check=check, timeout=30, env=lab.environment)
    call.program = request.param
    return call


def test_exec_carries_all_streams_and_the_exit_status(kubectl):
    done = kubectl("exec", "one", "--", "sh", "-c", "echo out; echo err >&2; exit 3", check=False)
    assert (done.returncode, done.stdout) == (3, "out\n")
    assert done.stderr == "err\ncommand terminated with exit code 3\n"


def test_exec_reads_standard_input_to_its_end(kubectl):
    assert kubectl("exec", "-i", "one", "--", "sort", stdin="b\na\n").stdout == "a\nb\n"


def test_exec_carries_much(kubectl):
    assert len(kubectl("exec", "one", "--", "head", "-c", "5000000", "/dev/zero").stdout) == 5000000


def test_exec_gives_a_terminal(lab, kubectl):
    command = f"{kubectl.program} --kubeconfig {lab.kubeconfig} exec -it one -- sh -c 'stty rows 7; tty && stty size; exit 4'"
    done = run(["script", "-qec", command, "/dev/null"], stdin="", check=False, env={**os.environ, **lab.environment, "TERM": "dumb"})
    assert "/dev/pts/" in done.stdout and "7 " in done.stdout and done.returncode == 4, done.stdout


@pytest.mark.parametrize("arguments, says", [
    (("exec", "two", "-c", "missing", "--", "true"), "container missing is not valid for pod two"),
    (("exec", "nobody", "--", "true"), 'pods "nobody" not found'),
    (("exec", "waiting", "--", "true"), 'container not found ("c")'),
    (("logs", "waiting"), 'container "c" in pod "waiting" is waiting to start: ErrImagePull'),
    (("logs", "one", "-p"), 'previous terminated container "c" in pod "one" not found'),
    (("logs", "two", "-c", "missing"), "container missing is not valid for pod two"),
], ids=lambda value: " ".join(value) if isinstance(value, tuple) else "")
def test_what_cannot_be_is_said(kubectl, arguments, says):
    done = kubectl(*arguments, check=False)
    assert done.returncode != 0 and says in done.stderr, done.stderr


def test_files_are_copied_both_ways(kubectl, tmp_path):
    sent = tmp_path / "sent"
    sent.write_bytes(os.urandom(1_000_000))
    target = f"/tmp/from-{kubectl.program.name}"
    kubectl("cp", str(sent), f"one:{target}")
    kubectl("cp", f"one:{target}", str(tmp_path / "back"))
    assert (tmp_path / "back").read_bytes() == sent.read_bytes()


def test_logs(kubectl):
    lines = kubectl("logs", "one").stdout.splitlines()
    assert sorted(lines) == ["err 1", "err 2", "err 3", "out 1", "out 2", "out 3"]
    assert kubectl("logs", "one", "--tail=2").stdout.splitlines() == lines[-2:]
    assert kubectl("logs", "one", "--limit-bytes=4").stdout == lines[0][:4]
    stamp, text = kubectl("logs", "one", "--timestamps", "--tail=1").stdout.rstrip("\n").split(" ", 1)
    assert stamp.endswith("Z") and text == lines[-1]
    assert kubectl("logs", "two", "-c", "other").stdout == "other\n"


def test_following_ends_with_the_container(kubectl):
    started = time.monotonic()
    assert kubectl("logs", "-f", "two", "-c", "c").stdout.splitlines() == [f"tick {i}" for i in range(1, 6)]
    assert time.monotonic() - started < 10


def test_the_log_before_the_restart(kubectl):
    deadline = time.monotonic() + 20
    while kubectl("get", "pod", "failing", "-o", "jsonpath={.status.containerStatuses[0].restartCount}").stdout in ("", "0"):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert kubectl("logs", "-p", "failing").stdout == "try\n"


def test_a_client_that_goes_takes_its_program_along(lab, kubectl):
    program = subprocess.Popen([kubectl.program, "--kubeconfig", lab.kubeconfig, "exec", "one", "--", "sleep", "12345"],
                               env={**os.environ, **lab.environment}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    def running() -> bool:
        return "12345" in kubectl("exec", "one", "--", "sh", "-c", "cat /proc/[0-9]*/cmdline | tr '\\0' ' ' | grep -o 'sleep 1234[5]' || true").stdout
    try:
        deadline = time.monotonic() + 10
        while not running():
            assert time.monotonic() < deadline
    finally:
        program.kill()
        program.wait()
    deadline = time.monotonic() + 10
    while running():
        assert time.monotonic() < deadline


# kubectl from 1.32 on sends these in protobuf; older ones in JSON: what is stored is the same.
# Annotations are left out: controllers add theirs when they come to it.
CREATE = {
    "namespace": "namespace x",
    "secret": "secret generic x --from-literal=a=b --from-literal=empty=",
    "configmap": "configmap x --from-literal=a=b",
    "serviceaccount": "serviceaccount x",
    "deployment": "deployment x --image=busybox --replicas=0 --port=80 -- /bin/sh -c true",
    "service": "service nodeport x --tcp=80:web --tcp=443:8443",
    "job": "job x --image=busybox -- true",
    "role": "role x --verb=get,list --resource=pods,deployments.apps",
    "rolebinding": "rolebinding x --role=x --user=somebody",
    "clusterrole": "clusterrole x --verb=get --non-resource-url=/healthz",
    "clusterrolebinding": "clusterrolebinding x --clusterrole=view --serviceaccount=default:x",
}
UNIQUE = ("uid", "resourceVersion", "creationTimestamp", "clusterIP", "clusterIPs", "nodePort", "controller-uid", "managedFields", "generation", "annotations")


def without_unique(value):
    if isinstance(value, dict):
        return {key: without_unique(inner) for key, inner in value.items() if not key.endswith(UNIQUE) and key != "status"}
    return [without_unique(item) for item in value] if isinstance(value, list) else value


@pytest.mark.parametrize("kind", CREATE)
def test_what_is_created_is_the_same_for_every_kubectl(lab, kind):
    seen = {}
    for program in kubectls():
        base = [program, "--kubeconfig", lab.kubeconfig]
        run([*base, "create", *CREATE[kind].split(" ")], env=lab.environment)
        text = run([*base, "get", kind, "x", "-o", "json"], env=lab.environment).stdout
        run([*base, "delete", kind, "x", "--timeout=20s"], env=lab.environment)
        seen[program.name] = without_unique(json.loads(text))
    first = next(iter(seen.values()))
    assert all(value == first for value in seen.values()), json.dumps(seen, indent=1)


def test_questions_and_tokens(kubectl):
    assert kubectl("auth", "can-i", "create", "pods").stdout == "yes\n"
    assert kubectl("auth", "can-i", "create", "pods", "--as=nobody", check=False).stdout == "no\n"
    assert "selfsubjectaccessreviews" in kubectl("auth", "can-i", "--list", "--as=nobody").stdout
    if "token" in kubectl("create", "--help").stdout:  # kubectl has it since 1.24
        assert kubectl("create", "token", "default").stdout.count(".") == 2
