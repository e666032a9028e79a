# SPDX-License-Identifier: Apache-2.0
"""Services of type LoadBalancer: addresses from pools, announced on the underlay; MetalLB's manifest and the article's steps."""
import json
import time

import pytest

from crossing import ROOT, Crossing, Failed

POOLS = {"cluster1": "172.18.1.230-172.18.1.231", "cluster2": "172.18.1.241-172.18.1.252"}


def wait_for(what, seconds: float = 20, every: float = 0.1):
    deadline = time.monotonic() + seconds
    while True:
        value = what()
        if value:
            return value
        if time.monotonic() > deadline:
            raise Failed(f"not within {seconds} s")
        time.sleep(every)


def service(name: str, *, annotations: dict | None = None, port: int = 5000, **spec) -> str:
    return json.dumps({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "annotations": annotations or {}},
                       "spec": {"type": "LoadBalancer", "selector": {"app": "helloworld"},
                                "ports": [{"name": "http", "port": port, "targetPort": 5000}], **spec}})


def address(cluster, name: str) -> str:
    return cluster.kubectl("get", "service", name, "-o", "jsonpath={.status.loadBalancer.ingress[0].ip}", check=False)


def wait_address(cluster, name: str) -> str:
    return wait_for(lambda: address(cluster, name))


def events(cluster, name: str) -> dict[str, str]:
    items = json.loads(cluster.kubectl("get", "events", "-o", "json"))["items"]
    return {e["reason"]: e["message"] for e in items if e["involvedObject"]["name"] == name}


def answer(lab, ip: str, port: int = 5000) -> str:
    return lab.shell("curl", "-s", "-m", "2", f"http://{ip}:{port}/hello", check=False).stdout


def start_helloworld(cluster) -> None:
    cluster.apply((ROOT / "samples/helloworld/helloworld.yaml").read_text(), "-l", f"version={cluster.version}")
    cluster.wait_rollout("default", f"helloworld-{cluster.version}")


@pytest.fixture(scope="module")
def lab():
    with Crossing("e2e-loadbalancer") as crossing:
        crossing.up()
        for cluster in crossing.clusters:
            cluster.apply_file("deploy/address-pool-kinds.yaml")
            cluster.apply((ROOT / "deploy/address-pool.yaml").read_text().replace("${POOL}", POOLS[cluster.name]))
            start_helloworld(cluster)
        yield crossing


@pytest.fixture
def one(lab):
    """cluster1; what a test leaves is removed."""
    yield lab.clusters[0]
    names = lab.clusters[0].kubectl("get", "services", "-o", "name").split()
    left = [name for name in names if name != "service/kubernetes"]
    if left:
        lab.clusters[0].kubectl("delete", *left)


def test_an_address_answers_in_the_world_and_in_the_other_cluster(lab, one):
    one.apply(service("hello"))
    assert wait_address(one, "hello") == "172.18.1.230"
    wait_for(lambda: "version: v1" in answer(lab, "172.18.1.230"))
    two = lab.clusters[1]
    two.kubectl("run", "client", "--image=curlimages/curl", "--command", "--", "/bin/sleep", "infinity")
    two.kubectl("wait", "--for=condition=Ready", "pod/client", "--timeout=30s")
    assert "version: v1" in two.exec("default", "client", "client", "curl", "-s", "-m", "5", "http://172.18.1.230:5000/hello").stdout
    told = wait_for(lambda: "nodeAssigned" in events(one, "hello") and events(one, "hello"))
    assert told["IPAllocated"] == 'Assigned IP ["172.18.1.230"]'
    assert told["nodeAssigned"] == 'announcing from node "cluster1-control-plane" with protocol "layer2"'


def test_each_cluster_gives_from_its_own_pool(lab, one):
    two = lab.clusters[1]
    one.apply(service("hello"))
    two.apply(service("hello"))
    assert wait_address(two, "hello") == "172.18.1.241"
    wait_for(lambda: "version: v2" in answer(lab, "172.18.1.241"))
    wait_for(lambda: "version: v1" in answer(lab, wait_address(one, "hello")))
    two.kubectl("delete", "service", "hello")
    wait_for(lambda: not answer(lab, "172.18.1.241"))


def test_an_empty_pool_leaves_services_waiting(lab, one):
    one.apply(service("a"))
    one.apply(service("b", port=5001))
    assert {wait_address(one, "a"), wait_address(one, "b")} == {"172.18.1.230", "172.18.1.231"}
    one.apply(service("c"))
    wait_for(lambda: "AllocationFailed" in events(one, "c"))
    assert events(one, "c")["AllocationFailed"] == 'Failed to allocate IP for "default/c": no available IPs'
    assert "<pending>" in one.kubectl("get", "service", "c")
    released = address(one, "a")
    one.kubectl("delete", "service", "a")
    assert wait_address(one, "c") == released
    wait_for(lambda: "version: v1" in answer(lab, released))


def test_an_address_moves_to_the_service_that_is_made_next(lab, one):
    for port in (5000, 6000):
        one.apply(service("hello", port=port))
        assert wait_address(one, "hello") == "172.18.1.230"
        wait_for(lambda port=port: "version: v1" in answer(lab, "172.18.1.230", port))
        one.kubectl("delete", "service", "hello")
        wait_for(lambda port=port: not answer(lab, "172.18.1.230", port))


def test_another_type_gives_the_address_back(lab, one):
    one.apply(service("hello"))
    wait_address(one, "hello")
    one.kubectl("patch", "service", "hello", "-p", '{"spec":{"type":"ClusterIP"}}')
    wait_for(lambda: not address(one, "hello"))
    wait_for(lambda: "ip-allocated-from-pool" not in one.kubectl("get", "service", "hello", "-o", "yaml"))
    wait_for(lambda: not answer(lab, "172.18.1.230"))


def test_a_requested_address_and_sharing(lab, one):
    key = {"metallb.universe.tf/allow-shared-ip": "together"}
    one.apply(service("a", annotations=key, loadBalancerIP="172.18.1.231"))
    one.apply(service("b", annotations=key, loadBalancerIP="172.18.1.231", port=5001))
    one.apply(service("stranger", loadBalancerIP="172.18.9.9"))
    assert (wait_address(one, "a"), wait_address(one, "b")) == ("172.18.1.231", "172.18.1.231")
    for port in (5000, 5001):
        wait_for(lambda port=port: "version: v1" in answer(lab, "172.18.1.231", port))
    wait_for(lambda: "AllocationFailed" in events(one, "stranger"))
    assert "is not allowed in config" in events(one, "stranger")["AllocationFailed"]


def test_the_article_s_metallb(shared):
    """Step 3 of the article with its own manifests, pools edited as it says to lie on the underlay."""
    with Crossing("e2e-metallb") as lab:
        lab.up()
        for index, cluster in enumerate(lab.clusters, 1):
            cluster.kubectl("apply", "-f", str(shared / "data/seed-manifests/metallb-native.yaml"))
            cluster.kubectl("create", "secret", "generic", "-n", "metallb-system", "memberlist", "--from-literal=secretkey=c2VjcmV0")
            config = (shared / f"data/seed-manifests/metallb-config-{index}.yaml").read_text()
            own = [line.split("- ")[1] for line in config.splitlines() if "192.168.247." in line][0]
            cluster.apply(config.replace(own, POOLS[cluster.name]))
        one = lab.clusters[0]
        overlap = config.replace(own, "172.18.1.231/32").replace("name: ip-pool", "name: second")
        with pytest.raises(Failed, match='denied the request: CIDR "172.18.1.231/32" in pool "second" overlaps'):
            one.apply(overlap)
        with pytest.raises(Failed, match="denied the request: .*is after the end IP"):
            one.apply(overlap.replace("172.18.1.231/32", "172.18.1.9-172.18.1.3"))
        for cluster in lab.clusters:
            start_helloworld(cluster)
            cluster.apply(service("hello"))
        assert [wait_address(cluster, "hello") for cluster in lab.clusters] == ["172.18.1.230", "172.18.1.241"]
        for cluster in lab.clusters:
            wait_for(lambda cluster=cluster: f"version: {cluster.version}" in answer(lab, address(cluster, "hello")))
            cluster.kubectl("wait", "-n", "metallb-system", "--for=condition=Ready", "pod", "--all", "--timeout=40s", timeout=50)
