# SPDX-License-Identifier: Apache-2.0
"""The lab itself, without a mesh: pods, services, names and volumes of two clusters, and what is left when it ends."""
import json
import os
import pathlib
import signal
import socket
import subprocess
import time

import pytest

from crossing import BIN, Crossing, Failed, run

STATE = pathlib.Path("/run/isthmesh")


def pod(name: str, command: str, *, image: str = "busybox", labels: dict | None = None, grace: int = 1, **spec) -> dict:
    """A pod of one container that runs a shell command; spec["container"] adds to the container."""
    container = {"name": "c", "image": image, "command": ["/bin/sh", "-c", command], **spec.pop("container", {})}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": labels or {}},
            "spec": {"terminationGracePeriodSeconds": grace, "containers": [container], **spec}}


def wait_for(what, seconds: float = 20, every: float = 0.1):
    """The first true value of what(); Failed after the deadline."""
    deadline = time.monotonic() + seconds
    while True:
        value = what()
        if value:
            return value
        if time.monotonic() > deadline:
            raise Failed(f"not within {seconds} s: {what}")
        time.sleep(every)


def get(cluster, kind: str, name: str, namespace: str = "default") -> dict:
    text = cluster.kubectl("get", kind, name, "-n", namespace, "-o", "json", "--ignore-not-found")
    return json.loads(text) if text.strip() else {}


def phase(cluster, name: str) -> str:
    return get(cluster, "pod", name).get("status", {}).get("phase", "")


def container_status(cluster, name: str) -> dict:
    return (get(cluster, "pod", name).get("status", {}).get("containerStatuses") or [{}])[0]


def wait_ready(cluster, *names: str) -> None:
    for name in names:
        cluster.kubectl("wait", "--for=condition=Ready", f"pod/{name}", "--timeout=30s", timeout=40)


def apply(cluster, *objects: dict) -> None:
    cluster.apply(json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)}))


def shell(cluster, name: str, script: str, check: bool = True) -> subprocess.CompletedProcess:
    return cluster.exec("default", name, "c", "/bin/sh", "-c", script, check=check)


@pytest.fixture(scope="module")
def lab():
    with Crossing("e2e-lab") as crossing:
        crossing.up()
        yield crossing


@pytest.fixture(scope="module")
def one(lab):
    cluster = lab.clusters[0]
    web = pod("web", "exec python3 -m http.server 8080", labels={"app": "web"},
              container={"ports": [{"name": "http", "containerPort": 8080}],
                         "readinessProbe": {"httpGet": {"path": "/etc/hostname", "port": "http"}, "periodSeconds": 1}},
              hostname="web", initContainers=[{"name": "first", "image": "busybox", "command": ["/bin/sh", "-c", "echo one"]}])
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"},
               "spec": {"type": "NodePort", "selector": {"app": "web"}, "externalIPs": [cluster.node_address],
                        "ports": [{"name": "http", "port": 80, "targetPort": "http"}]}}
    nobody = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "nobody"},
              "spec": {"selector": {"app": "nobody"}, "ports": [{"port": 80}]}}
    apply(cluster, web, service, nobody, pod("client", "exec sleep infinity", image="curlimages/curl", grace=0))
    wait_ready(cluster, "web", "client")
    return cluster


# --- network ------------------------------------------------------------------------------------------

def test_services_answer_by_name_and_address(one):
    address = get(one, "svc", "web")["spec"]["clusterIP"]
    node_port = get(one, "svc", "web")["spec"]["ports"][0]["nodePort"]
    for target in ("web", "web.default", "web.default.svc.cluster.local", address, f"{one.node_address}:{node_port}", one.node_address):
        wait_for(lambda: shell(one, "client", f"curl -sf -m 2 -o /dev/null http://{target}/", check=False).returncode == 0)


def test_a_pod_reaches_itself_through_its_service(one):
    assert shell(one, "web", "curl -sf -m 2 -o /dev/null -w '%{http_code}' http://web.default/").stdout == "200"


def test_a_service_without_endpoints_refuses_at_once(one):
    started = time.monotonic()
    assert shell(one, "client", "curl -s -m 5 http://nobody/", check=False).returncode == 7
    assert time.monotonic() - started < 2


def test_unknown_names_fail_at_once(one):
    done = shell(one, "client", "curl -s -m 5 -o /dev/null -w '%{time_total}' http://nothing.example/", check=False)
    assert done.returncode == 6 and float(done.stdout) < 1, done.stdout


def test_the_node_and_the_world_reach_services(lab, one):
    port = get(one, "svc", "web")["spec"]["ports"][0]["nodePort"]
    assert "200" in lab.shell("curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", f"http://{one.node_address}:{port}/").stdout


def test_no_pod_of_one_cluster_reaches_a_pod_of_the_other(lab, one):
    two = lab.clusters[1]
    apply(two, pod("first", "exec sleep infinity", grace=0), pod("alone", "exec python3 -m http.server 7777", grace=0),
          pod("third", "exec sleep infinity", grace=0))
    wait_ready(two, "first", "alone", "third")
    address = get(two, "pod", "alone")["status"]["podIP"]
    assert shell(two, "alone", f"curl -s -m 2 -o /dev/null -w '%{{http_code}}' http://{address}:7777/").stdout == "200"
    # Equal ranges: here the address is nobody's, or somebody else's who does not listen there.
    assert shell(one, "client", f"curl -s -m 2 http://{address}:7777/", check=False).returncode in (7, 28)
    assert lab.shell("curl", "-s", "-m", "2", f"http://{address}:7777/", check=False).returncode != 0
    assert shell(one, "client", f"curl -sk -m 2 -o /dev/null -w '%{{http_code}}' https://{two.node_address}:6443/version").stdout == "200"


def test_there_is_no_way_out(lab, one):
    assert shell(one, "client", "curl -s -m 2 http://192.0.2.1/", check=False).returncode in (7, 28)
    assert lab.shell("curl", "-s", "-m", "2", "http://192.0.2.1/", check=False).returncode in (7, 28)


# --- pods ---------------------------------------------------------------------------------------------

def test_volumes_follow_their_sources(one):
    config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings"}, "data": {"key": "old"}}
    apply(one, config, pod("reader", "exec sleep infinity", grace=0, labels={"a": "b"},
                           container={"volumeMounts": [{"name": "settings", "mountPath": "/etc/settings"}, {"name": "info", "mountPath": "/etc/info"},
                                                       {"name": "scratch", "mountPath": "/scratch"}]},
                           volumes=[{"name": "settings", "configMap": {"name": "settings"}}, {"name": "scratch", "emptyDir": {"medium": "Memory"}},
                                    {"name": "info", "downwardAPI": {"items": [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]}}]))
    wait_ready(one, "reader")
    assert shell(one, "reader", "cat /etc/settings/key; cat /etc/info/labels; touch /scratch/x").stdout == 'olda="b"'
    apply(one, {**config, "data": {"key": "new"}})
    wait_for(lambda: shell(one, "reader", "cat /etc/settings/key").stdout == "new")


def test_a_pod_waits_for_what_it_mounts(one):
    apply(one, pod("waiting", "exec sleep infinity", grace=0, volumes=[{"name": "s", "secret": {"secretName": "later"}}],
                   container={"volumeMounts": [{"name": "s", "mountPath": "/s"}]}))
    wait_for(lambda: "FailedMount" in one.kubectl("get", "events"))
    assert phase(one, "waiting") == "Pending"
    apply(one, {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "later"}, "stringData": {"k": "v"}})
    wait_ready(one, "waiting")
    assert shell(one, "waiting", "cat /s/k").stdout == "v"


def test_tokens_are_accepted_by_the_api_server(one):
    said = shell(one, "client", "cd /var/run/secrets/kubernetes.io/serviceaccount && curl -s --cacert ca.crt "
                 "-H \"Authorization: Bearer $(cat token)\" https://kubernetes.default.svc/api/v1/namespaces/$(cat namespace)/pods").stdout
    assert 'system:serviceaccount:default:default' in said, said


def test_containers_have_the_rights_they_were_given(one):
    apply(one, pod("plain", "exec sleep infinity", grace=0, securityContext={"runAsUser": 1337, "runAsGroup": 1337},
                   container={"securityContext": {"capabilities": {"drop": ["ALL"]}, "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True}}))
    wait_ready(one, "plain")
    said = shell(one, "plain", "id -u; grep -E 'CapBnd|NoNewPrivs' /proc/1/status; touch /x || echo fixed; cat /proc/sys/net/ipv4/ip_unprivileged_port_start").stdout
    assert said.split() == ["1337", "CapBnd:", "0000000000000000", "NoNewPrivs:", "1", "fixed", "0"], said


def test_a_failing_container_is_started_again(one):
    apply(one, pod("failing", "echo once; exit 3", restartPolicy="Always"))
    status = wait_for(lambda: (s := container_status(one, "failing")).get("restartCount", 0) >= 1 and "terminated" in s.get("lastState", {}) and s)
    assert status["lastState"]["terminated"]["exitCode"] == 3
    wait_for(lambda: container_status(one, "failing").get("state", {}).get("waiting", {}).get("reason") == "CrashLoopBackOff")


@pytest.mark.parametrize("policy,code,want", [("Never", 0, "Succeeded"), ("Never", 4, "Failed"), ("OnFailure", 0, "Succeeded")])
def test_pods_that_end(one, policy, code, want):
    name = f"ends-{policy.lower()}-{code}"
    apply(one, pod(name, f"exit {code}", restartPolicy=policy))
    wait_for(lambda: phase(one, name) == want)


def test_a_liveness_probe_restarts(one):
    apply(one, pod("sick", "sleep infinity & wait", container={"livenessProbe": {"exec": {"command": ["false"]}, "periodSeconds": 1, "failureThreshold": 1}}))
    wait_for(lambda: container_status(one, "sick").get("restartCount", 0) >= 1)


def test_an_unknown_image_says_what_to_do(one):
    apply(one, pod("strange", "true", image="nginx:latest"))
    waiting = wait_for(lambda: container_status(one, "strange").get("state", {}).get("waiting", {}).get("reason") == "ErrImagePull"
                       and container_status(one, "strange")["state"]["waiting"])
    assert "nginx:latest" in waiting["message"] and "busybox" in waiting["message"]


def test_deleting_asks_first_and_kills_at_the_deadline(one):
    apply(one, pod("polite", "trap 'echo bye; exit 0' TERM; while :; do sleep 0.1; done", grace=20),
          pod("stubborn", "trap '' TERM; while :; do sleep 0.1; done", grace=1))
    wait_ready(one, "polite", "stubborn")
    started = time.monotonic()
    one.kubectl("delete", "pod", "polite")
    assert time.monotonic() - started < 10
    one.kubectl("delete", "pod", "stubborn")
    assert time.monotonic() - started < 20
    assert not (STATE / "lab-e2e-lab" / "cluster1" / "pods" / "default_polite").exists()


def test_logs_and_exit_status(lab, one):
    apply(one, pod("talks", "echo out; echo err >&2; exec sleep infinity", grace=0))
    wait_ready(one, "talks")
    wait_for(lambda: "out" in lab.isthmesh("lab", "logs", "--name", lab.name, "default/talks").stdout)
    assert sorted(lab.isthmesh("lab", "logs", "--name", lab.name, "default/talks").stdout.split()) == ["err", "out"]
    assert shell(one, "talks", "exit 7", check=False).returncode == 7


def test_a_killed_server_comes_back_with_its_objects(lab, one):
    """kill -9 of a cluster's server: its pods end with it, and both return without anybody's help."""
    apply(one, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "kept"}, "data": {"k": "v"}})
    server = int((STATE / f"lab-{lab.name}" / "cluster1" / "pid").read_text())
    lab.shell("/bin/sh", "-c", f"kill -9 {server}", check=False)
    wait_for(lambda: '"restarts": 1' in json.dumps(json.loads(lab.isthmesh("lab", "status", "--name", lab.name, "-o", "json").stdout))
             and one.kubectl("get", "cm", "kept", check=False), seconds=30)
    wait_for(lambda: shell(one, "client", "curl -sf -m 2 -o /dev/null http://web/", check=False).returncode == 0, seconds=30)


# --- the lab ------------------------------------------------------------------------------------------

def sights(name: str) -> dict:
    """What a lab could leave on the machine."""
    groups = [str(p) for p in pathlib.Path("/sys/fs/cgroup").glob(f"**/isthmesh-lab-{name}")]
    processes = []
    for entry in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            arguments = (entry / "cmdline").read_bytes()
        except OSError:
            continue
        if f"--lab={name}".encode() in arguments or f"lab-{name}/".encode() in arguments:
            processes.append(entry.name)
    mounts = [line for line in open("/proc/self/mountinfo") if f"lab-{name}" in line]
    return {"groups": groups, "processes": processes, "mounts": mounts, "state": (STATE / f"lab-{name}").exists(),
            "tables": run(["nft", "list", "tables"]).stdout, "links": "isthmesh0" in run(["ip", "-o", "link"]).stdout}


def test_a_killed_lab_leaves_what_the_next_removes():
    lab = Crossing("e2e-killed", 1)
    with lab:
        lab.up()
        apply(lab.clusters[0], pod("some", "exec sleep infinity"))
        wait_ready(lab.clusters[0], "some")
        os.kill(int((STATE / f"lab-{lab.name}" / "world.pid").read_text()), signal.SIGKILL)
        wait_for(lambda: not sights(lab.name)["processes"])
        lab.up()
        assert lab.clusters[0].kubectl("get", "pods").strip() == ""
    wait_for(lambda: not any(value for key, value in sights(lab.name).items() if key != "tables"))
    assert "isthmesh" not in sights(lab.name)["tables"]


def test_a_chosen_port_that_is_taken_is_said_so():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = run([BIN / "isthmesh", "lab", "up", "--name", "e2e-port", "--api-port", str(port)], check=False)
    assert done.returncode == 1 and f"127.0.0.1:{port}" in done.stderr and len(done.stderr.splitlines()) == 1, done.stderr
    assert not (STATE / "lab-e2e-port").exists()


@pytest.mark.parametrize("arguments,said", [(["up", "--clusters", "0"], "--clusters wants"), (["up", "--name", "Bad_Name"], "no lab name"),
                                            (["up", "--frobnicate"], "no flag"), (["exec", "--name", "none", "x/y", "--", "true"], "isthmesh lab up"),
                                            (["shell", "--name", "none", "--", "true"], "isthmesh lab up"), (["nonsense"], "no command")])
def test_wrong_usage_is_one_line(arguments, said):
    done = run([BIN / "isthmesh", "lab", *arguments], check=False)
    assert done.returncode in (1, 2) and len(done.stderr.splitlines()) == 1 and said in done.stderr, done.stderr


def test_down_without_a_lab_is_no_failure():
    assert run([BIN / "isthmesh", "lab", "down", "--name", "e2e-none"]).returncode == 0
