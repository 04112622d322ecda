"""Pictures by address, from hosts that the operator allows and nowhere else.

A name is resolved first, every address that it has must be a public one, and the connection goes to the one that was
looked at: a name that answers differently the second time gains nothing. Every redirect is looked at again.
"""

from __future__ import annotations

import http.client
import ipaddress
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as LateError
from contextlib import contextmanager, suppress
from urllib.parse import SplitResult, urljoin, urlsplit

Resolve = Callable[[str, int], Sequence[str]]
"""The addresses of a host name and port."""

Connect = Callable[[tuple[str, int], float], socket.socket]
"""A connection to an address and port, within some seconds."""

_NAME = re.compile(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*")
_PORTS = {"http": 80, "https": 443}
_REDIRECTS = (301, 302, 303, 307, 308)
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_RESOLVERS = ThreadPoolExecutor(4, thread_name_prefix="qwenvl-resolve")


class FetchError(OSError):
    """An address that is not opened, or gave no picture."""


def fetcher(
    hosts: Sequence[str],
    max_bytes: int = 20 << 20,
    seconds: float = 10.0,
    redirects: int = 3,
    resolve: Resolve | None = None,
    connect: Connect | None = None,
) -> Callable[[str], bytes]:
    """A function from an address to what lies there, `max_bytes` at most, within `seconds` in all.

    `hosts` are names, or name:port for another port than http's and https's own. Raises ValueError for what is no host
    name. The function raises FetchError. `resolve` and `connect` are the system's own by default.
    """
    allowed = frozenset(map(_allowed, hosts))
    looking_up, connecting = resolve or _addresses, connect or _connected

    def fetch(address: str) -> bytes:
        deadline = time.monotonic() + seconds
        for _ in range(redirects + 1):
            url, host, port = _checked(address, allowed)
            ip = _public(host, port, looking_up, deadline)
            with _answer(url, host, port, ip, connecting, deadline) as answer:
                if answer.status in _REDIRECTS and (where := answer.getheader("Location")):
                    address = _redirected(address, where)
                    continue
                return _content(answer, host, max_bytes)
        raise FetchError(f"{host} redirects more than {redirects} times")

    return fetch


def _allowed(entry: str) -> tuple[str, int | None]:
    try:
        parts = urlsplit(f"//{entry.strip()}")
        host, port = parts.hostname or "", parts.port
        plain = not (parts.path or parts.query or parts.fragment or "@" in parts.netloc)
        if plain and _NAME.fullmatch(_ascii(host)) and not _is_address(host):
            return _ascii(host), port
    except ValueError:
        pass
    raise ValueError(
        f"{entry!r} is no host name; expected one such as images.example.org, or with a port after a colon"
    )


def _checked(address: str, allowed: frozenset[tuple[str, int | None]]) -> tuple[SplitResult, str, int]:
    """The parts of an address that may be opened, its host and its port."""
    try:
        url = urlsplit(address)
        port, host = url.port, _ascii(url.hostname or "")
    except ValueError as error:
        raise FetchError(f"no address: {error}") from None
    if url.scheme not in _PORTS:
        raise FetchError("only http:// and https:// addresses are opened")
    if "@" in url.netloc:
        raise FetchError("an address with a user or a password in it is not opened")
    own = port is None or port == _PORTS[url.scheme]
    if not ((own and (host, None) in allowed) or (host, port or _PORTS[url.scheme]) in allowed):
        raise FetchError(f"the host {host}{'' if own else f':{port}'} is not among those that this server allows")
    return url, host, port or _PORTS[url.scheme]


def _public(host: str, port: int, resolve: Resolve, deadline: float) -> str:
    """An address of a host, all of whose addresses are public."""
    try:
        found = _RESOLVERS.submit(resolve, host, port).result(max(0.0, deadline - time.monotonic()))
    except LateError:
        raise FetchError(f"{host}: its name took too long to look up") from None
    except OSError:
        raise FetchError(f"{host}: there is no such host") from None
    if not found:
        raise FetchError(f"{host}: there is no such host")
    if not all(map(is_public, found)):
        raise FetchError(f"{host} leads to an address that is not public")
    return found[0]


def is_public(address: str) -> bool:
    """Whether an IP address is one of the internet's: none of this machine, its network, or a group; nor one of these
    within an address of IPv6.
    """
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False
    if not ip.is_global or ip.is_multicast or ip.is_reserved or ip.is_unspecified:
        return False
    if isinstance(ip, ipaddress.IPv4Address):
        return True
    within = [ip.ipv4_mapped, ip.sixtofour, *(ip.teredo or ())]
    if ip in _NAT64:
        within.append(ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF))
    return all(one is None or is_public(str(one)) for one in within)


@contextmanager
def _answer(
    url: SplitResult, host: str, port: int, ip: str, connect: Connect, deadline: float
) -> Iterator[http.client.HTTPResponse]:
    """What the host says, its body still to be read. The connection is cut at the deadline, however slow it drips."""
    try:
        line = connect((ip, port), max(0.01, deadline - time.monotonic()))
    except OSError as error:
        raise FetchError(f"{host}: no connection ({error.strerror or 'it took too long'})") from None
    cut = threading.Timer(max(0.01, deadline - time.monotonic()), _cut, (line,))
    cut.daemon = True
    cut.start()
    try:
        if url.scheme == "https":
            line = ssl.create_default_context().wrap_socket(line, server_hostname=host)
        connection = http.client.HTTPConnection(host, port)
        connection.sock = line
        path = (url.path or "/") + (f"?{url.query}" if url.query else "")
        wanted = {"Accept": "image/*", "Accept-Encoding": "identity", "User-Agent": "qwenvl", "Connection": "close"}
        shown = host if port == _PORTS[url.scheme] else f"{host}:{port}"
        connection.request("GET", path, headers={"Host": shown, **wanted})
        yield connection.getresponse()
        if time.monotonic() >= deadline:  # cut off, what came looks like a whole body without a length
            raise TimeoutError
    except FetchError:
        raise
    except (OSError, http.client.HTTPException, ValueError) as error:
        late = time.monotonic() >= deadline - 0.05
        raise FetchError(f"{host}: {'it took too long' if late else type(error).__name__}") from None
    finally:
        cut.cancel()
        line.close()


def _content(answer: http.client.HTTPResponse, host: str, max_bytes: int) -> bytes:
    if answer.status != 200:
        raise FetchError(f"{host} answers {answer.status}")
    if (length := answer.getheader("Content-Length") or "").isdecimal() and int(length) > max_bytes:
        raise FetchError(f"{host}: {length} bytes are more than {max_bytes:,}")
    content = answer.read(max_bytes + 1)
    if len(content) > max_bytes:
        raise FetchError(f"{host}: it sends more than {max_bytes:,} bytes")
    return content


def _redirected(address: str, where: str) -> str:
    target = urljoin(address, where)
    if address[:6].lower() == "https:" and target[:6].lower() != "https:":
        raise FetchError("an https:// address redirects to one without encryption")
    return target


def _addresses(host: str, port: int) -> list[str]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


def _connected(address: tuple[str, int], seconds: float) -> socket.socket:
    return socket.create_connection(address, seconds)


def _cut(line: socket.socket) -> None:
    with suppress(OSError):  # it may be closed already
        line.shutdown(socket.SHUT_RDWR)


def _ascii(host: str) -> str:
    """A host name as it is looked up: lower case, without the last dot."""
    return host.rstrip(".").encode("idna").decode("ascii").lower() if host else ""


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
