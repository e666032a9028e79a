# SPDX-License-Identifier: Apache-2.0
"""The first crossing as a library: two lab clusters, a mesh over both, and calls through it.

The demo narrates these steps, the end-to-end test asserts on them. Everything is done with the real
programs: kubectl as the client, our command line, curl and openssl as callers.
"""
from __future__ import annotations

import collections
import json
import os
import pathlib
import shutil
import subprocess
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
BIN = pathlib.Path(os.environ.get("ISTHMESH_BIN", ROOT / "build" / "bin"))
MESH = "mesh1"
SNI = "outbound_.5000_._.helloworld.sample.svc.cluster.local"
URL = "helloworld.sample:5000/hello"


class Failed(Exception):
    """A step that did not work, with what the program said."""


def run(argv: list[str], *, stdin: str | None = None, timeout: float = 60, check: bool = True,
        env: dict | None = None) -> subprocess.CompletedProcess:
    """Runs a program to its end; raises Failed with its own words when it fails and check is set."""
    try:
        done = subprocess.run([str(part) for part in argv], input=stdin, capture_output=True, text=True,
                              timeout=timeout, env=env)
    except subprocess.TimeoutExpired as late:
        raise Failed(f"{' '.join(map(str, argv))}: no end after {timeout:.0f} s: {late.stderr or late.stdout or ''}") from late
    except OSError as error:
        raise Failed(f"{argv[0]}: {error}") from error
    if check and done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip())[-2000:]
        raise Failed(f"{' '.join(map(str, argv))}: exit status {done.returncode}: {said}")
    return done


class Cluster:
    """One lab cluster and what the mesh calls it."""

    def __init__(self, crossing: "Crossing", facts: dict, index: int):
        self.crossing = crossing
        self.name = facts["name"]
        self.context = facts["context"]
        self.node_address = facts["nodeAddress"]
        self.network = f"network{index}"
        self.pool = f"172.18.{index}.230-172.18.{index}.240"
        self.version = f"v{index}"

    def kubectl(self, *arguments: str, stdin: str | None = None, timeout: float = 60, check: bool = True) -> str:
        return run(["kubectl", "--kubeconfig", self.crossing.kubeconfig, "--context", self.context, *arguments],
                   stdin=stdin, timeout=timeout, check=check, env=self.crossing.environment).stdout

    def apply(self, text: str, *arguments: str) -> str:
        return self.kubectl("apply", *arguments, "-f", "-", stdin=text)

    def apply_file(self, path: str, *arguments: str) -> str:
        """One of our manifests, its ${NAME} values filled in."""
        text = (ROOT / path).read_text()
        for name, value in {"CLUSTER_ID": self.name, "NETWORK": self.network, "MESH_ID": MESH,
                            "EXTERNAL_IP": self.node_address, "POOL": self.pool}.items():
            text = text.replace("${" + name + "}", value)
        return self.apply(text, *arguments)

    def pods(self, namespace: str, selector: str) -> list[dict]:
        return json.loads(self.kubectl("get", "pods", "-n", namespace, "-l", selector, "-o", "json"))["items"]

    def pod(self, namespace: str, selector: str) -> str:
        """The name of the one running pod that the selector finds."""
        running = [p for p in self.pods(namespace, selector)
                   if p["status"].get("phase") == "Running" and "deletionTimestamp" not in p["metadata"]]
        if not running:
            raise Failed(f"{self.name}: no running pod with {selector} in {namespace}")
        return running[0]["metadata"]["name"]

    def wait_rollout(self, namespace: str, deployment: str, timeout: int = 60) -> None:
        try:
            self.kubectl("rollout", "status", "-n", namespace, f"deployment/{deployment}", f"--timeout={timeout}s",
                         timeout=timeout + 10)
        except Failed as failure:
            pods = self.kubectl("get", "pods", "-A", "-o", "wide", check=False)
            events = self.kubectl("get", "events", "-n", namespace, check=False)
            raise Failed(f"{failure}\n{pods}\n{events}") from failure

    def exec(self, namespace: str, pod: str, container: str, *command: str, timeout: float = 30,
             check: bool = True) -> subprocess.CompletedProcess:
        return self.crossing.isthmesh("lab", "exec", "--name", self.crossing.name, "--cluster", self.name, f"{namespace}/{pod}",
                                      "-c", container, "--", *command, timeout=timeout, check=check)

    def call(self, count: int, pause: float = 0.0) -> collections.Counter:
        """Requests from the sleep pod, one connection each; counts versions, and failures by status or curl exit."""
        sleep = self.pod("sample", "app=sleep")
        script = (f"for i in $(seq {count}); do "
                  f"curl -s -m 5 -o - -w ' %{{http_code}}\\n' {URL} || echo \"curl-exit-$?\"; "
                  + (f"sleep {pause}; " if pause else "") + "done")
        lines = self.exec("sample", sleep, "sleep", "/bin/sh", "-c", script, timeout=60 + count * (pause + 1)).stdout
        return count_answers(lines)

    def gateway_address(self, timeout: float = 20) -> str:
        """Where other networks reach this one: what the east-west gateway's Service was given from the pool."""
        deadline = time.monotonic() + timeout
        while True:
            address = self.kubectl("get", "service", "-n", "istio-system", "istio-eastwestgateway",
                                   "-o", "jsonpath={.status.loadBalancer.ingress[0].ip}")
            if address:
                return address
            if time.monotonic() > deadline:
                raise Failed(f"{self.name}: istio-eastwestgateway got no address within {timeout:.0f} s")
            time.sleep(0.1)

    def admin(self, namespace: str, pod: str, path: str) -> str:
        """The proxy's own admin interface, asked from inside its pod."""
        return self.exec(namespace, pod, "istio-proxy", "curl", "-sf", f"http://127.0.0.1:15000{path}").stdout


def count_answers(text: str) -> collections.Counter:
    answers: collections.Counter = collections.Counter()
    pending = ""
    for line in text.splitlines():
        if line.startswith("Hello version: "):
            pending = line.split(":")[1].split(",")[0].strip()
        elif line.startswith("curl-exit-"):
            answers[line] += 1
            pending = ""
        elif line.strip().isdigit():
            answers[pending if line.strip() == "200" and pending else line.strip()] += 1
            pending = ""
        elif line.strip():
            words = line.split()
            answers[words[-1] if words[-1].isdigit() else "other"] += 1
            pending = ""
    return answers


class Crossing:
    """A lab with a mesh in it. Use as a context manager: whatever happens, nothing is left."""

    def __init__(self, name: str = "crossing", cluster_count: int = 2):
        self.name = name
        self.cluster_count = cluster_count
        self.work = pathlib.Path(tempfile.mkdtemp(prefix="isthmesh-"))
        # kubectl keeps discovery answers in $HOME: ours must not meet those of an earlier lab.
        self.environment = {**os.environ, "HOME": str(self.work)}
        self.kubeconfig = ""
        self.clusters: list[Cluster] = []

    def __enter__(self) -> "Crossing":
        return self

    def __exit__(self, *_: object) -> None:
        self.down()

    def isthmesh(self, *arguments: str, stdin: str | None = None, timeout: float = 60, check: bool = True):
        return run([BIN / "isthmesh", *arguments], stdin=stdin, timeout=timeout, check=check, env=self.environment)

    # --- steps, in order --------------------------------------------------------------------------------

    def up(self, *flags: str) -> None:
        if shutil.which("kubectl") is None:
            raise Failed("kubectl is not on PATH; make setup installs Debian's")
        facts = json.loads(self.isthmesh("lab", "up", "--name", self.name, "--clusters", str(self.cluster_count),
                                         "-o", "json", *flags).stdout)
        self.kubeconfig = facts["kubeconfig"]
        self.clusters = [Cluster(self, cluster, index) for index, cluster in enumerate(facts["clusters"], 1)]

    def down(self) -> None:
        self.isthmesh("lab", "down", "--name", self.name, check=False)
        shutil.rmtree(self.work, ignore_errors=True)

    def make_certificates(self) -> None:
        """One root, an intermediate per cluster, in the folder layout of the certificate Makefile."""
        certificates = self.work / "certs"
        certificates.mkdir()
        self.isthmesh("ca", "root", "--directory", str(certificates))
        for cluster in self.clusters:
            self.isthmesh("ca", "intermediate", cluster.name, "--directory", str(certificates))

    def install(self, cluster: Cluster) -> None:
        """Namespace, plugged-in CA and control plane."""
        cluster.apply("apiVersion: v1\nkind: Namespace\nmetadata:\n  name: istio-system\n"
                      f"  labels:\n    topology.istio.io/network: {cluster.network}\n")
        folder = self.work / "certs" / cluster.name
        secret = run(["kubectl", "create", "secret", "generic", "cacerts", "-n", "istio-system", "--dry-run=client", "-o", "yaml",
                      *[f"--from-file={folder / name}" for name in
                        ("ca-cert.pem", "ca-key.pem", "root-cert.pem", "cert-chain.pem")]], env=self.environment).stdout
        cluster.apply(secret)
        cluster.apply_file("deploy/isthmeshd.yaml")
        cluster.wait_rollout("istio-system", "istiod")

    def join(self) -> None:
        """Addresses for gateways, the gateways, exposed services, and each control plane's view of the other clusters."""
        for cluster in self.clusters:
            cluster.apply_file("deploy/address-pool-kinds.yaml")
            cluster.apply_file("deploy/address-pool.yaml")
            cluster.apply_file("deploy/eastwest-gateway.yaml")
            cluster.apply_file("samples/multicluster/expose-services.yaml", "-n", "istio-system")
        for cluster in self.clusters:
            cluster.wait_rollout("istio-system", "istio-eastwestgateway")
            cluster.gateway_address()
        for cluster in self.clusters:
            secret = self.isthmesh("create-remote-secret", "--kubeconfig", self.kubeconfig, "--context", cluster.context,
                                   "--name", cluster.name, "--server", f"https://{cluster.node_address}:6443").stdout
            for other in self.clusters:
                if other is not cluster:
                    other.apply(secret, "-n", "istio-system")

    def deploy(self, helloworld: str | None = None, sleep: str | None = None) -> None:
        """The sample applications: our own manifests, or the texts given."""
        helloworld = helloworld or (ROOT / "samples/helloworld/helloworld.yaml").read_text()
        sleep = sleep or (ROOT / "samples/sleep/sleep.yaml").read_text()
        for cluster in self.clusters:
            cluster.apply("apiVersion: v1\nkind: Namespace\nmetadata:\n  name: sample\n  labels:\n    istio-injection: enabled\n")
            cluster.apply(helloworld, "-n", "sample", "-l", "service=helloworld")
            cluster.apply(helloworld, "-n", "sample", "-l", f"version={cluster.version}")
            cluster.apply(sleep, "-n", "sample")
        for cluster in self.clusters:
            cluster.wait_rollout("sample", f"helloworld-{cluster.version}")
            cluster.wait_rollout("sample", "sleep")

    def wait_joined(self, timeout: float = 30) -> None:
        """Until every sleep pod has been answered by every version."""
        deadline = time.monotonic() + timeout
        for cluster in self.clusters:
            seen: collections.Counter = collections.Counter()
            while not all(seen[other.version] for other in self.clusters):
                seen += cluster.call(6)
                if time.monotonic() > deadline:
                    raise Failed(f"{cluster.name}: not every version answered within {timeout:.0f} s: {dict(seen)}")

    def shell(self, *command: str, stdin: str | None = None, timeout: float = 30, check: bool = True) -> subprocess.CompletedProcess:
        """A program in the lab's world, where node addresses are reachable."""
        return self.isthmesh("lab", "shell", "--name", self.name, "--", *command, stdin=stdin, timeout=timeout, check=check)

    # --- what the demo shows ----------------------------------------------------------------------------

    def gateway_counters(self, cluster: Cluster) -> tuple[int, int]:
        """(connections, bytes towards the workload) that passed the cluster's gateway by the SNI of helloworld.

        Sidecars keep their connections: more calls are more bytes, not always more connections.
        """
        pod = cluster.pod("istio-system", "istio=eastwestgateway")
        counters = dict(line.split(": ", 1) for line in cluster.admin("istio-system", pod, "/stats").splitlines() if ": " in line)
        return (int(counters.get(f"cluster.{SNI}.upstream_cx_total", 0)),
                int(counters.get(f"cluster.{SNI}.upstream_cx_tx_bytes_total", 0)))

    def principals(self, cluster: Cluster) -> set[tuple[str, str]]:
        """(client, server) identities of the requests the helloworld sidecar served, from its metrics."""
        pod = cluster.pod("sample", "app=helloworld")
        pairs = set()
        for line in cluster.admin("sample", pod, "/stats/prometheus").splitlines():
            if line.startswith("istio_requests_total{") and 'reporter="destination"' in line:
                labels = dict(part.split("=", 1) for part in line[line.index("{") + 1:line.rindex("}")].split(","))
                pairs.add((labels.get("source_principal", "").strip('"'), labels.get("destination_principal", "").strip('"')))
        return pairs

    def make_client(self, folder: pathlib.Path, ca_certificate: pathlib.Path, ca_key: pathlib.Path,
                    chain: pathlib.Path | None = None) -> tuple[pathlib.Path, pathlib.Path]:
        """A workload certificate for the sleep identity, signed by the CA given."""
        folder.mkdir(parents=True, exist_ok=True)
        key, request, certificate = folder / "key.pem", folder / "csr.pem", folder / "cert.pem"
        extensions = folder / "extensions.cnf"
        extensions.write_text("subjectAltName=critical,URI:spiffe://cluster.local/ns/sample/sa/sleep\n"
                              "keyUsage=critical,digitalSignature,keyEncipherment\nextendedKeyUsage=serverAuth,clientAuth\n")
        run(["openssl", "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/",
             "-keyout", key, "-out", request])
        run(["openssl", "x509", "-req", "-in", request, "-CA", ca_certificate, "-CAkey", ca_key, "-CAcreateserial", "-days", "1",
             "-extfile", extensions, "-out", certificate])
        if chain is not None:
            certificate.write_text(certificate.read_text() + chain.read_text())
        return certificate, key

    def foreign_root(self) -> tuple[pathlib.Path, pathlib.Path]:
        """A root that nobody in the mesh trusts."""
        folder = self.work / "foreign"
        folder.mkdir(exist_ok=True)
        run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1",
             "-subj", "/O=Elsewhere/CN=Root CA", "-keyout", folder / "root-key.pem", "-out", folder / "root-cert.pem"])
        return folder / "root-cert.pem", folder / "root-key.pem"

    def call_with_certificate(self, cluster: Cluster, certificate: pathlib.Path, key: pathlib.Path) -> str:
        """One request to helloworld through a cluster's gateway, spoken by openssl with the certificate given."""
        request = "GET /hello HTTP/1.1\r\nHost: helloworld.sample:5000\r\nConnection: close\r\n\r\n"
        done = self.shell("openssl", "s_client", "-connect", f"{cluster.gateway_address()}:15443", "-servername", SNI,
                          "-alpn", "istio-http/1.1,istio,http/1.1", "-cert", str(certificate), "-cert_chain", str(certificate),
                          "-key", str(key), "-CAfile", str(self.work / "certs" / "root-cert.pem"), "-ign_eof", "-quiet",
                          "-verify_return_error", stdin=request, timeout=20, check=False)
        return done.stdout + done.stderr
