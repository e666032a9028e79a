# SPDX-License-Identifier: Apache-2.0
"""Other people's clients against our HTTP and gRPC servers, and our client against other people's servers.

Loopback only. `hello` answers any path; `grpc_echo` and `fetch` are in tests/support. A peer that is not
installed skips its tests by name.
"""
import concurrent.futures
import contextlib
import os
import pathlib
import re
import resource
import shutil
import signal
import socket
import ssl
import subprocess
import time

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("ISTHMESH_BUILD", ROOT / "build" / "main"))
HELLO = BUILD / "src" / "bin" / "hello"
GRPC_ECHO = BUILD / "tests" / "grpc_echo"
FETCH = BUILD / "tests" / "fetch"
NAME = "hello.test"
GIGABYTE = 1 << 30


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def run(*command, timeout=120, check=True, **keywords) -> subprocess.CompletedProcess:
    result = subprocess.run([str(part) for part in command], capture_output=True, timeout=timeout, **keywords)
    if check and result.returncode != 0:
        raise AssertionError(f"{command}: exit {result.returncode}\n{result.stdout[-2000:]}\n{result.stderr[-2000:]}")
    return result


def need(program: str) -> str:
    path = shutil.which(program, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if path is None:
        pytest.skip(f"{program} is not installed: not tried")
    return path


class Server:
    """A program that listens on 127.0.0.1:port."""

    def __init__(self, command, port: int, **keywords):
        self.port = port
        self.process = subprocess.Popen([str(part) for part in command], stdout=subprocess.DEVNULL,
                                        stderr=subprocess.PIPE, **keywords)
        deadline = time.monotonic() + 20
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                return
            except OSError:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    self.process.kill()
                    raise AssertionError(f"{command} did not start: {self.process.stderr.read()[-2000:]}")
                time.sleep(0.02)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def memory_kib(self, field: str = "VmHWM") -> int:
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(rf"{field}:\s+(\d+) kB", status).group(1))

    def stop(self) -> int:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.process.stderr.close()
        return self.process.returncode


@contextlib.contextmanager
def server(*command, **keywords):
    """PORT in the command stands for a free port. Our programs must end well when told to."""
    port = free_port()
    instance = Server([str(part).replace("PORT", str(port)) for part in command], port, **keywords)
    try:
        yield instance
    finally:
        status = instance.stop()
    if BUILD in pathlib.Path(command[0]).parents:
        assert status == 0, f"{command[0]} ended with {status}"


@pytest.fixture(scope="module")
def pki(tmp_path_factory):
    """A root, a server certificate for NAME, a client certificate, and another root that signed nothing."""
    directory = tmp_path_factory.mktemp("pki")

    def openssl(*arguments):
        run("openssl", *arguments, cwd=directory)

    for root in ("root", "other"):
        openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
                "-subj", f"/CN={root}", "-keyout", f"{root}.key", "-out", f"{root}.pem")
    for leaf, extensions in (("server", f"subjectAltName=DNS:{NAME},IP:127.0.0.1"),
                             ("client", "subjectAltName=URI:spiffe://test/ns/a/sa/b")):
        (directory / f"{leaf}.ext").write_text(extensions + "\n")
        openssl("req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", f"/CN={leaf}",
                "-keyout", f"{leaf}.key", "-out", f"{leaf}.csr")
        openssl("x509", "-req", "-in", f"{leaf}.csr", "-CA", "root.pem", "-CAkey", "root.key", "-CAcreateserial",
                "-days", "2", "-extfile", f"{leaf}.ext", "-out", f"{leaf}.pem")
    (directory / "both.pem").write_text((directory / "server.pem").read_text() + (directory / "server.key").read_text())
    return directory


@pytest.fixture(scope="module")
def plain():
    with server(HELLO, "--listen", "127.0.0.1:PORT") as instance:
        yield instance


@pytest.fixture(scope="module")
def secure(pki):
    with server(HELLO, "--listen", "127.0.0.1:PORT", "--tls", pki / "server.pem", pki / "server.key") as instance:
        yield instance


@pytest.fixture(scope="module")
def mutual(pki):
    with server(HELLO, "--listen", "127.0.0.1:PORT", "--tls", pki / "server.pem", pki / "server.key",
                "--client-ca", pki / "root.pem") as instance:
        yield instance


# --- curl ------------------------------------------------------------------------------------------

FORMAT = "%{http_code} %{http_version} %{size_download} %{num_connects}\n"


def curl(*arguments, check=True, timeout=120):
    return run("curl", "-sS", "--max-time", str(timeout), "-o", "/dev/null", "-w", FORMAT, *arguments, check=check,
               timeout=timeout + 10)


def curl_tls(instance: Server, pki, *arguments, check=True, timeout=120):
    return curl("--cacert", pki / "root.pem", "--resolve", f"{NAME}:{instance.port}:127.0.0.1", *arguments, check=check,
                timeout=timeout)


def test_curl_http1_keeps_the_connection(plain):
    lines = curl("--http1.1", f"http://{plain.address}/a", "-o", "/dev/null", f"http://{plain.address}/b").stdout.split(b"\n")
    assert lines[0] == b"200 1.1 13 1" and lines[1] == b"200 1.1 13 0"


def test_curl_http10_closes(plain):
    assert curl("--http1.0", f"http://{plain.address}/").stdout == b"200 1.1 13 1\n"


def test_curl_head(plain):
    head = run("curl", "-sS", "-I", f"http://{plain.address}/").stdout
    assert head.startswith(b"HTTP/1.1 200 OK\r\n") and b"content-length: 13\r\n" in head


def test_curl_http2_prior_knowledge(plain):
    assert curl("--http2-prior-knowledge", f"http://{plain.address}/").stdout.startswith(b"200 2 13")


def test_curl_h2c_upgrade_is_ignored(plain):
    assert curl("--http2", f"http://{plain.address}/").stdout.startswith(b"200 1.1 13")


@pytest.mark.parametrize("flag, version", [("--http1.1", b"1.1"), ("--http2", b"2")])
@pytest.mark.parametrize("tls", ["1.2", "1.3"])
def test_curl_tls(secure, pki, flag, version, tls):
    answer = curl_tls(secure, pki, flag, f"--tlsv{tls}", "--tls-max", tls, f"https://{NAME}:{secure.port}/").stdout
    assert answer.startswith(b"200 " + version + b" 13")


def test_curl_refuses_us_under_another_name(secure, pki):
    answer = curl("--cacert", pki / "root.pem", "--resolve", f"other.test:{secure.port}:127.0.0.1",
                  f"https://other.test:{secure.port}/", check=False)
    assert answer.returncode == 60 # the certificate does not name it


def test_curl_mutual_tls(mutual, pki):
    url = f"https://{NAME}:{mutual.port}/"
    answer = curl_tls(mutual, pki, "--cert", pki / "client.pem", "--key", pki / "client.key", url).stdout
    assert answer.startswith(b"200 2 13")
    assert curl_tls(mutual, pki, url, check=False).returncode != 0
    # Of a root that we were not told of.
    run("openssl", "x509", "-req", "-in", pki / "client.csr", "-CA", pki / "other.pem", "-CAkey", pki / "other.key",
        "-CAcreateserial", "-days", "2", "-out", pki / "stranger.pem")
    assert curl_tls(mutual, pki, "--cert", pki / "stranger.pem", "--key", pki / "client.key", url, check=False).returncode != 0
    assert curl_tls(mutual, pki, "--cert", pki / "client.pem", "--key", pki / "client.key", url).stdout.startswith(b"200 2 13")


def test_curl_waits_for_100_continue(plain, tmp_path):
    body = tmp_path / "body"
    body.write_bytes(b"x" * 300_000)
    result = run("curl", "-sv", "--http1.1", "-H", "Expect: 100-continue", "--expect100-timeout", "20", "-T", body,
                 f"http://{plain.address}/up", timeout=15)
    assert b"HTTP/1.1 100 Continue" in result.stderr and b"HTTP/1.1 200 OK" in result.stderr


@pytest.mark.parametrize("flag", ["--http1.1", "--http2-prior-knowledge"])
def test_curl_uploads(plain, tmp_path, flag):
    body = tmp_path / "body"
    body.write_bytes(os.urandom(5_000_000))
    for header in ("Transfer-Encoding: chunked", "X-Length: known"):
        answer = curl(flag, "-H", header, "-T", body, "-w", "%{http_code} %{size_upload}\n", f"http://{plain.address}/up").stdout
        status, size = answer.split()
        assert status == b"200" and int(size) >= 5_000_000 # curl counts the framing of chunks as well


@pytest.mark.parametrize("scheme, flag", [("http", "--http1.1"), ("http", "--http2-prior-knowledge"), ("https", "--http2")])
def test_curl_downloads_a_gigabyte(pki, scheme, flag):
    tls = ("--tls", pki / "server.pem", pki / "server.key") if scheme == "https" else ()
    with server(HELLO, "--listen", "127.0.0.1:PORT", "--body", GIGABYTE, *tls) as instance:
        answer = curl_tls(instance, pki, flag, f"{scheme}://{NAME}:{instance.port}/", timeout=300).stdout
        assert answer.split()[0] == b"200" and int(answer.split()[2]) == GIGABYTE
        assert instance.memory_kib() < 40_000 # whoever sends a gigabyte holds a little of it


def test_a_slow_reader_costs_little(pki):
    with server(HELLO, "--listen", "127.0.0.1:PORT", "--body", GIGABYTE) as instance:
        slow = []
        for _ in range(20):
            connection = socket.create_connection(("127.0.0.1", instance.port))
            connection.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            slow.append(connection)
        time.sleep(1)
        assert instance.memory_kib("VmRSS") < 40_000
        for connection in slow:
            connection.close()


# --- nghttp, openssl -------------------------------------------------------------------------------

def test_nghttp(plain, secure, pki):
    nghttp = need("nghttp")
    for url in (f"http://{plain.address}/", f"https://127.0.0.1:{secure.port}/"):
        result = run(nghttp, "-nv", "-m", "50", url).stdout
        assert result.count(b":status: 200") == 50
        assert b"GOAWAY" in result and b"error_code=NO_ERROR" in result
        assert b"RST_STREAM" not in result


def s_client(instance: Server, pki, *arguments, request: bytes = b""):
    return run("openssl", "s_client", "-connect", instance.address, "-CAfile", pki / "root.pem", "-verify_return_error",
               *arguments, input=request, timeout=30, check=False).stdout


def test_openssl_sni_and_alpn(secure, pki):
    for offered, want in (("h2,http/1.1", b"ALPN protocol: h2"), ("http/1.1", b"ALPN protocol: http/1.1"),
                          ("http/1.1,h2", b"ALPN protocol: h2")):
        answer = s_client(secure, pki, "-servername", NAME, "-verify_hostname", NAME, "-alpn", offered)
        assert want in answer and b"Verify return code: 0 (ok)" in answer
    assert b"No ALPN negotiated" in s_client(secure, pki, "-servername", NAME)


def test_openssl_speaks_http(secure, pki):
    # s_client ends with its input; `close` lets the answer come first.
    process = subprocess.Popen(["openssl", "s_client", "-quiet", "-connect", secure.address, "-CAfile", str(pki / "root.pem")],
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    process.stdin.write(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    process.stdin.flush()
    answer = process.stdout.read()
    process.stdin.close()
    assert process.wait(10) == 0
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n") and answer.endswith(b"Hello, world\n")


def test_openssl_resumes(secure, pki):
    answer = s_client(secure, pki, "-tls1_2", "-reconnect")
    assert answer.count(b"Reused, TLSv1.2") == 5
    # TLS 1.3 sends its tickets with the first answer.
    context = ssl.create_default_context(cafile=str(pki / "root.pem"))
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    previous = None
    for attempt in range(3):
        with context.wrap_socket(socket.create_connection(("127.0.0.1", secure.port)), server_hostname=NAME,
                                 session=previous) as connection:
            connection.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            assert connection.recv(4096).startswith(b"HTTP/1.1 200 OK")
            assert connection.session_reused == (attempt > 0)
            previous = connection.session


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion")
def test_tls_refuses_what_is_old(secure):
    for version in (ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.set_ciphers("ALL:@SECLEVEL=0")
        context.minimum_version = context.maximum_version = version
        with pytest.raises(ssl.SSLError):
            context.wrap_socket(socket.create_connection(("127.0.0.1", secure.port)))


# --- bad peers -------------------------------------------------------------------------------------

def exchange(instance: Server, text: bytes, timeout: float = 10) -> bytes:
    with socket.create_connection(("127.0.0.1", instance.port), timeout=timeout) as connection:
        connection.sendall(text)
        answer = b""
        while data := connection.recv(65536):
            answer += data
        return answer


@pytest.mark.parametrize("text, status", [
    (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 70_000 + b"\r\n\r\n", b"431"),
    (b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: x\r\n" * 2000 + b"\r\n", b"431"),
    (b"GET /" + b"x" * 70_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", b"414"),
    (b"GET / HTTP/1.1\nHost: a\n\n", b"400"),
    (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", b"400"),
    (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", b"400"),
    (b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03", b"400"),
])
def test_bad_requests_are_answered_and_closed(plain, text, status):
    assert exchange(plain, text).startswith(b"HTTP/1.1 " + status)


def test_descriptors_run_out_and_come_back():
    def limit():
        resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40))

    with server(HELLO, "--listen", "127.0.0.1:PORT", preexec_fn=limit) as instance:
        many = [socket.create_connection(("127.0.0.1", instance.port)) for _ in range(80)]
        time.sleep(0.5)
        ticks = int(pathlib.Path(f"/proc/{instance.process.pid}/stat").read_text().split()[13])
        time.sleep(1)
        busy = int(pathlib.Path(f"/proc/{instance.process.pid}/stat").read_text().split()[13]) - ticks
        assert busy < 20, f"spins while it cannot accept: {busy} ticks in a second"
        for connection in many:
            connection.close()
        assert exchange(instance, b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").startswith(b"HTTP/1.1 200")


def test_a_crowd_of_bad_peers_stalls_nobody(plain):
    """Silent, dripping, resetting and never-reading peers beside a client that wants answers."""
    crowd = []
    for number in range(300):
        connection = socket.create_connection(("127.0.0.1", plain.port))
        if number % 3 == 0:
            connection.sendall(b"GET / HTT")
        elif number % 3 == 1:
            connection.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" * 500)
        crowd.append(connection)
    begin = time.monotonic()
    for _ in range(20):
        assert curl(f"http://{plain.address}/").stdout.startswith(b"200")
    assert time.monotonic() - begin < 10
    for connection in crowd:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0") # reset
        connection.close()
    assert curl(f"http://{plain.address}/").stdout.startswith(b"200")


# --- gRPC ------------------------------------------------------------------------------------------

@pytest.fixture(scope="module", params=["plain", "tls"])
def channel(request, pki):
    grpc = pytest.importorskip("grpc", reason="python3-grpcio is not installed: not tried")
    tls = ("--tls", pki / "server.pem", pki / "server.key") if request.param == "tls" else ()
    with server(GRPC_ECHO, "--listen", "127.0.0.1:PORT", *tls) as instance:
        options = [("grpc.ssl_target_name_override", NAME), ("grpc.max_receive_message_length", -1)]
        if tls:
            credentials = grpc.ssl_channel_credentials((pki / "root.pem").read_bytes())
            made = grpc.secure_channel(f"127.0.0.1:{instance.port}", credentials, options)
        else:
            made = grpc.insecure_channel(f"127.0.0.1:{instance.port}", options)
        with made:
            yield made


def method(channel, kind: str, name: str):
    return getattr(channel, kind)(f"/isthmesh.test.Echo/{name}")


@pytest.mark.parametrize("size", [0, 1, 1000, 3_000_000])
def test_grpc_unary(channel, size):
    message = os.urandom(size)
    assert method(channel, "unary_unary", "Unary")(message, timeout=20) == message


def test_grpc_many_calls_at_once(channel):
    unary = method(channel, "unary_unary", "Unary")
    with concurrent.futures.ThreadPoolExecutor(32) as pool:
        messages = [str(number).encode() for number in range(2000)]
        assert list(pool.map(lambda message: unary(message, timeout=30), messages)) == messages


def test_grpc_status(channel):
    import grpc
    with pytest.raises(grpc.RpcError) as caught:
        method(channel, "unary_unary", "Unary")(b"x", timeout=10, metadata=(("x-status", "9"), ("x-message", "not 100% ready")))
    assert caught.value.code() == grpc.StatusCode.FAILED_PRECONDITION
    assert caught.value.details() == "not 100% ready"
    with pytest.raises(grpc.RpcError) as caught:
        list(method(channel, "unary_stream", "Many")(b"many", timeout=10))
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT and "décimal" in caught.value.details()
    with pytest.raises(grpc.RpcError) as caught:
        method(channel, "unary_unary", "NoSuchMethod")(b"x", timeout=10)
    assert caught.value.code() == grpc.StatusCode.UNIMPLEMENTED


def test_grpc_streams_both_ways(channel):
    sent = [os.urandom(number % 5000) for number in range(2000)]
    assert list(method(channel, "stream_stream", "Stream")(iter(sent), timeout=60)) == sent


def test_grpc_ping_pong(channel):
    """Each message leaves when the one before has come back."""
    import queue
    outgoing: queue.Queue = queue.Queue()
    outgoing.put(b"0")
    answers = method(channel, "stream_stream", "Stream")(iter(outgoing.get, None), timeout=60)
    for number, answer in enumerate(answers):
        assert answer == str(number).encode()
        outgoing.put(str(number + 1).encode() if number < 200 else None)
    assert number == 200


def test_grpc_many_messages(channel):
    assert sum(1 for _ in method(channel, "unary_stream", "Many")(b"50000", timeout=60)) == 50000


def test_grpc_deadline_and_cancel(channel):
    import grpc
    given_up = method(channel, "unary_unary", "GivenUp")
    before = int(given_up(b"", timeout=10))
    with pytest.raises(grpc.RpcError) as caught:
        method(channel, "unary_unary", "Hold")(b"x", timeout=0.3)
    assert caught.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    held = method(channel, "unary_unary", "Hold").future(b"x", timeout=30)
    time.sleep(0.2)
    held.cancel()
    deadline = time.monotonic() + 10
    while int(given_up(b"", timeout=10)) < before + 1 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert int(given_up(b"", timeout=10)) >= before + 1


# --- our client ------------------------------------------------------------------------------------

def fetch(*arguments, check=True):
    return run(FETCH, *arguments, check=check).stdout.decode().splitlines()


@pytest.fixture(scope="module")
def nginx(pki, tmp_path_factory):
    program = need("nginx")
    directory = tmp_path_factory.mktemp("nginx")
    (directory / "www").mkdir()
    (directory / "www" / "small").write_bytes(b"x" * 100)
    (directory / "www" / "large").write_bytes(b"x" * 20_000_000)
    (directory / "www" / "empty").write_bytes(b"")
    ports = {name: free_port() for name in ("h1", "h2", "tls")}
    directory.chmod(0o755)
    (directory / "nginx.conf").write_text(f"""
daemon off; master_process off; error_log stderr; pid {directory}/pid;
events {{ worker_connections 1000; }}
http {{
    access_log off; keepalive_requests 300; client_max_body_size 100m;
    client_body_temp_path {directory}/body; proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi; uwsgi_temp_path {directory}/uwsgi; scgi_temp_path {directory}/scgi;
    server {{
        listen 127.0.0.1:{ports["h1"]};
        listen 127.0.0.1:{ports["h2"]} http2;
        listen 127.0.0.1:{ports["tls"]} ssl http2;
        ssl_certificate {pki}/server.pem; ssl_certificate_key {pki}/server.key;
        ssl_client_certificate {pki}/root.pem; ssl_verify_client optional;
        root {directory}/www;
        location = /gone {{ return 410; }}
        location = /cut {{ return 444; }}
        location = /who {{ return 200 "$ssl_client_verify"; }}
        location /up {{ proxy_pass http://127.0.0.1:{ports["h1"]}/taken; }}
        location = /taken {{ return 200 "taken"; }}
        location = /chunks {{ gzip on; gzip_types *; gzip_min_length 0; alias {directory}/www/large; }}
    }}
}}
""")
    instance = Server([program, "-p", directory, "-c", directory / "nginx.conf"], ports["h1"])
    yield ports
    instance.stop()


@pytest.fixture(scope="module")
def haproxy(pki, plain, tmp_path_factory):
    program = need("haproxy")
    directory = tmp_path_factory.mktemp("haproxy")
    ports = {name: free_port() for name in ("h1", "h2", "tls")}
    (directory / "haproxy.cfg").write_text(f"""
global
    nbthread 1
defaults
    mode http
    timeout connect 5s
    timeout client 30s
    timeout server 30s
frontend all
    bind 127.0.0.1:{ports["h1"]}
    bind 127.0.0.1:{ports["h2"]} proto h2
    bind 127.0.0.1:{ports["tls"]} ssl crt {pki}/both.pem alpn h2,http/1.1 ca-file {pki}/root.pem verify optional
    http-request return status 200 content-type text/plain lf-string "%[ssl_c_verify]" if {{ path /who }}
    http-request return status 410 if {{ path /gone }}
    http-request silent-drop if {{ path /cut }}
    default_backend hello
backend hello
    server hello 127.0.0.1:{plain.port}
""")
    instance = Server([program, "-f", directory / "haproxy.cfg"], ports["h1"])
    yield ports
    instance.stop()


@pytest.fixture(params=["nginx", "haproxy"])
def peer(request):
    return request.getfixturevalue(request.param) | {"small": 100 if request.param == "nginx" else 13}


def test_fetch_http1(peer):
    address = f"127.0.0.1:{peer['h1']}"
    assert fetch(address, "GET", "/small") == [f"200 11 {peer['small']}"]
    assert fetch(address, "HEAD", "/small") == ["200 11 0"]
    assert fetch(address, "GET", "/gone")[0].startswith("410 11 ")
    assert fetch("--count", 300, "--parallel", 8, address, "GET", "/small") == [f"200 11 {peer['small']}"] * 300


def test_fetch_http2(peer):
    address = f"127.0.0.1:{peer['h2']}"
    assert fetch("--protocol", 2, address, "GET", "/small") == [f"200 20 {peer['small']}"]
    # nginx ends a connection after 300 requests: what it refuses then is repeated on the next one.
    lines = fetch("--protocol", 2, "--count", 1000, "--parallel", 20, "--connections", 2, address, "GET", "/small")
    assert lines == [f"200 20 {peer['small']}"] * 1000


def test_fetch_tls(peer, pki):
    address = f"127.0.0.1:{peer['tls']}"
    common = ("--ca", pki / "root.pem", "--name", NAME)
    assert fetch(*common, "--protocol", "alpn", address, "GET", "/small") == [f"200 20 {peer['small']}"]
    identity = ("--cert", pki / "client.pem", "--key", pki / "client.key")
    with_identity = fetch(*common, *identity, "--protocol", "alpn", address, "GET", "/who")[0]
    without = fetch(*common, "--protocol", "alpn", address, "GET", "/who")[0]
    assert with_identity.startswith("200 20 ") and without.startswith("200 20 ")
    wrong_root = fetch("--ca", pki / "other.pem", "--name", NAME, address, "GET", "/small", check=False)
    assert wrong_root[0].startswith("error tls ")
    wrong_name = fetch("--ca", pki / "root.pem", "--name", "other.test", address, "GET", "/small", check=False)
    assert wrong_name[0].startswith("error tls ")


@pytest.mark.parametrize("protocol, port", [("1", "h1"), ("2", "h2")])
def test_fetch_uploads(peer, protocol, port):
    for framing in ((), ("--chunked",)):
        lines = fetch("--protocol", protocol, "--upload", 8_000_000, *framing, f"127.0.0.1:{peer[port]}", "POST", "/up")
        assert lines[0].startswith("200 ")


def test_fetch_large_and_chunked_answers(nginx):
    for protocol, port, version in (("1", "h1", 11), ("2", "h2", 20)):
        address = f"127.0.0.1:{nginx[port]}"
        assert fetch("--protocol", protocol, address, "GET", "/large") == [f"200 {version} 20000000"]
        assert fetch("--protocol", protocol, address, "GET", "/empty") == [f"200 {version} 0"]
        assert fetch("--protocol", protocol, address, "GET", "/chunks") == [f"200 {version} 20000000"]


def test_fetch_reports_a_cut_connection(nginx):
    assert fetch(f"127.0.0.1:{nginx['h1']}", "GET", "/cut", check=False)[0].startswith("error closed ")


def test_fetch_reports_refusal():
    assert fetch(f"127.0.0.1:{free_port()}", "GET", "/", check=False)[0].startswith("error unreachable ")
