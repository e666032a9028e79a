# SPDX-License-Identifier: Apache-2.0
"""The servers that scenarios measure: ours, the floors, HAProxy and nginx as their makers advise for one core."""
from __future__ import annotations

import dataclasses
import pathlib
import subprocess

from measure import BODY, Subject, program, version


@dataclasses.dataclass
class Certificates:
    """PEM files of one root, a server and a client below it."""
    folder: pathlib.Path

    def path(self, name: str) -> str:
        return str(self.folder / name)


def make_certificates(folder: pathlib.Path, key: str) -> Certificates:
    """key: "ecdsa" (P-256) or "rsa" (2048 bits)."""
    folder.mkdir(parents=True)
    generate = {"ecdsa": ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"],
                "rsa": ["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"]}[key]

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    for name in ("ca", "server", "client"):
        openssl("genpkey", *generate, "-out", f"{name}.key")
    openssl("req", "-x509", "-key", "ca.key", "-subj", "/CN=bench root", "-days", "7", "-out", "ca.pem")
    for name in ("server", "client"):
        (folder / f"{name}.ext").write_text(f"subjectAltName=URI:spiffe://bench.test/ns/bench/sa/{name},IP:127.0.0.1\n")
        openssl("req", "-new", "-key", f"{name}.key", "-subj", "/O=bench", "-out", f"{name}.csr")
        openssl("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-days", "7",
                "-extfile", f"{name}.ext", "-out", f"{name}.pem")
        # HAProxy reads certificate and key from one file.
        (folder / f"{name}.both").write_text((folder / f"{name}.pem").read_text() + (folder / f"{name}.key").read_text())
    return Certificates(folder)


def ours(port: int, tls: Certificates | None = None, mutual: bool = False, body: int = BODY) -> Subject:
    argv = [program("hello"), "--listen", f"127.0.0.1:{port}", "--body", str(body)]
    if tls:
        argv += ["--tls", tls.path("server.pem"), tls.path("server.key")]
        argv += ["--client-ca", tls.path("ca.pem")] if mutual else []
    return Subject("isthmesh", argv, port)


def floor(port: int, tls: Certificates | None = None, mutual: bool = False, body: int = BODY) -> Subject:
    if not tls:
        return Subject("floor", [program("floor"), "server", f"127.0.0.1:{port}", str(body)], port)
    argv = [program("floor_tls"), f"127.0.0.1:{port}", str(body), tls.path("server.pem"), tls.path("server.key")]
    return Subject("floor", argv + ([tls.path("ca.pem")] if mutual else []), port)


HAPROXY = """global
  nbthread 1
  maxconn 8000
  ssl-default-bind-options ssl-min-ver TLSv1.2
defaults
  mode http
  timeout connect 5s
  timeout client 600s
  timeout server 600s
  timeout http-keep-alive 600s
frontend in
  bind 127.0.0.1:{port}{options}
  http-request return status 200 content-type text/plain string "{body}"
"""


def haproxy(port: int, work: pathlib.Path, tls: Certificates | None = None, mutual: bool = False, http2: bool = False) -> Subject:
    options = ""
    if tls:
        options = f" ssl crt {tls.path('server.both')} alpn {'h2' if http2 else 'http/1.1'}"
        options += f" ca-file {tls.path('ca.pem')} verify required" if mutual else ""
    elif http2:
        options = " proto h2"
    path = work / f"haproxy-{port}.cfg"
    path.write_text(HAPROXY.format(port=port, options=options, body="x" * BODY))
    return Subject("haproxy", ["haproxy", "-f", str(path)], port, version(["haproxy", "-v"]))


NGINX = """daemon off;
worker_processes 1;
pid {work}/nginx-{port}.pid;
error_log stderr crit;
worker_rlimit_nofile 16000;
events {{ worker_connections 8000; }}
http {{
  access_log off;
  sendfile on;
  tcp_nopush on;
  keepalive_requests 1000000000;
  keepalive_timeout 600s;
  default_type text/plain;
  server {{
    listen 127.0.0.1:{port}{options};
    {tls}
    {place}
  }}
}}
"""


def nginx(port: int, work: pathlib.Path, tls: Certificates | None = None, mutual: bool = False, http2: bool = False,
          file: pathlib.Path | None = None) -> Subject:
    """file: served from there at any path, instead of a body of BODY bytes."""
    lines = []
    if tls:
        lines = [f"ssl_certificate {tls.path('server.pem')};", f"ssl_certificate_key {tls.path('server.key')};",
                 "ssl_protocols TLSv1.2 TLSv1.3;"]
        lines += [f"ssl_client_certificate {tls.path('ca.pem')};", "ssl_verify_client on;"] if mutual else []
    body = "x" * BODY
    place = f"location / {{ root {file.parent}; try_files /{file.name} =404; }}" if file else f'location / {{ return 200 "{body}"; }}'
    path = work / f"nginx-{port}.conf"
    path.write_text(NGINX.format(work=work, port=port, options=(" ssl" if tls else "") + (" http2" if http2 else ""),
                                 tls=" ".join(lines), place=place))
    return Subject("nginx", ["nginx", "-p", str(work), "-c", str(path)], port, version(["nginx", "-v"]))
