"""Pictures by address: only from allowed hosts, at public addresses, within bounds of bytes and time."""

from __future__ import annotations

import contextlib
import http.server
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from qwenvl.serve.fetch import FetchError, fetcher, is_public

PUBLIC = "93.184.215.14"


class Site(http.server.BaseHTTPRequestHandler):
    """Pages by path; what was asked is noted."""

    def do_GET(self) -> None:
        self.server.asked.append((self.path, dict(self.headers)))  # type: ignore[attr-defined]
        if self.path.startswith("/to?"):
            self.send_response(302)
            self.send_header("Location", self.path[4:])
            self.end_headers()
            return
        if self.path == "/missing":
            self.send_error(404)
            return
        self.send_response(200)
        if self.path == "/claims":
            self.send_header("Content-Length", "99999999")
        self.end_headers()
        if self.path == "/drip":
            with contextlib.suppress(OSError):
                for _ in range(100):
                    self.wfile.write(b".")
                    self.wfile.flush()
                    time.sleep(0.05)
        elif self.path == "/large":
            self.wfile.write(b"x" * 3000)
        elif self.path != "/claims":
            self.wfile.write(b"a picture")

    def log_message(self, *args: object) -> None:
        """Quiet."""


@pytest.fixture
def site() -> Iterator[http.server.ThreadingHTTPServer]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Site)
    server.asked = []  # type: ignore[attr-defined]
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def fetch(site: http.server.ThreadingHTTPServer) -> Callable[[str], bytes]:
    """Where pic.example is at a public address, and the connection there comes to the site."""
    return made(site)


def made(site: http.server.ThreadingHTTPServer, seconds: float = 5.0) -> Callable[[str], bytes]:
    names = {"pic.example": [PUBLIC], "inner.example": ["10.0.0.8"], "both.example": [PUBLIC, "127.0.0.1"]}

    def resolve(host: str, port: int) -> list[str]:
        if host not in names:
            raise socket.gaierror
        return names[host]

    def connect(address: tuple[str, int], limit: float) -> socket.socket:
        assert address[0] == PUBLIC
        return socket.create_connection(site.server_address[:2], limit)

    hosts = ["pic.example", "Inner.Example.", "both.example", "pic.example:8080", "gone.example"]
    return fetcher(hosts, 2000, seconds, 2, resolve, connect)


def test_a_picture_of_an_allowed_host(fetch: Callable[[str], bytes], site: http.server.ThreadingHTTPServer) -> None:
    assert fetch("http://pic.example/a.png?size=2#x") == b"a picture"
    assert fetch("http://PIC.example:8080/b.png") == b"a picture"
    (first, headers), (_, other) = site.asked  # type: ignore[attr-defined]
    assert first == "/a.png?size=2" and headers["Host"] == "pic.example" and other["Host"] == "pic.example:8080"
    assert not {"Cookie", "Authorization", "Referer"} & headers.keys()


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("http://other.example/", "not among those"),
        ("http://pic.example:81/", "not among those"),
        ("http://sub.pic.example/", "not among those"),
        ("http://127.0.0.1/", "not among those"),
        ("http://[::1]/", "not among those"),
        ("ftp://pic.example/", "only http"),
        ("file:///etc/passwd", "only http"),
        ("http://me:secret@pic.example/", "user or a password"),
        ("http://pic.example@other.example/", "user or a password"),
        ("http://pic.example:port/", "no address"),
        ("http://", "not among those"),
        ("http://inner.example/", "not public"),
        ("http://both.example/", "not public"),
        ("http://gone.example/", "no such host"),
        ("http://pic.example/missing", "answers 404"),
        ("http://pic.example/large", "more than 2,000 bytes"),
        ("http://pic.example/claims", "99999999 bytes are more"),
        ("http://pic.example/to?http://other.example/", "not among those"),
        ("http://pic.example/to?http://inner.example/", "not public"),
        ("http://pic.example/to?file:///etc/passwd", "only http"),
        ("http://pic.example/to?/to?/to?/x", "redirects more than 2 times"),
        ("http://pic.example/\r\nX: y", "pic.example"),
    ],
)
def test_what_is_not_opened(fetch: Callable[[str], bytes], address: str, said: str) -> None:
    with pytest.raises(FetchError, match=said):
        fetch(address)


def test_a_redirect_within_the_host_is_followed(fetch: Callable[[str], bytes]) -> None:
    assert fetch("http://pic.example/to?/to?/x.png") == b"a picture"


def test_a_host_that_drips_is_cut_off(site: http.server.ThreadingHTTPServer) -> None:
    begin = time.monotonic()
    with pytest.raises(FetchError, match="took too long"):
        made(site, seconds=0.4)("http://pic.example/drip")
    assert time.monotonic() - begin < 3


def test_a_lookup_that_hangs_is_given_up() -> None:
    free = threading.Event()
    slow = fetcher(["pic.example"], seconds=0.2, resolve=lambda *_: (free.wait(5) and [PUBLIC]) or [PUBLIC])
    with pytest.raises(FetchError, match="too long to look up"):
        slow("http://pic.example/")
    free.set()


@pytest.mark.parametrize(
    ("address", "public"),
    [
        (PUBLIC, True),
        ("2606:2800:21f:cb07:6820:80da:af6b:8b2c", True),
        ("127.0.0.1", False),
        ("10.1.2.3", False),
        ("172.16.0.1", False),
        ("192.168.1.1", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("0.0.0.0", False),
        ("224.0.0.1", False),
        ("255.255.255.255", False),
        ("::1", False),
        ("::", False),
        ("fe80::1", False),
        ("fe80::1%eth0", False),
        ("fd00::1", False),
        ("ff02::1", False),
        ("::ffff:127.0.0.1", False),
        ("::ffff:10.0.0.1", False),
        ("64:ff9b::7f00:1", False),
        ("64:ff9b::a00:1", False),
        ("2002:7f00:1::", False),
        ("nonsense", False),
    ],
)
def test_public_addresses(address: str, public: bool) -> None:
    assert is_public(address) is public


@pytest.mark.parametrize("entry", ["", "*", "http://pic.example", "pic.example/x", "10.0.0.1", "[::1]", "a@b", "a:b"])
def test_what_is_no_host_name(entry: str) -> None:
    with pytest.raises(ValueError, match="no host name"):
        fetcher([entry])
