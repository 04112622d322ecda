"""`qwenvl serve` and `qwenvl demo`: the same server; the demo opens its page in a browser."""

from __future__ import annotations

import argparse
import ipaddress
import logging
import os
import sys
from functools import partial
from typing import TYPE_CHECKING, Any

from qwenvl.cli.errors import UsageError
from qwenvl.cli.options import Verbs, model_options, positive, verb

if TYPE_CHECKING:
    from qwenvl.serve.api_settings import Served, ServeSettings

KEY_VARIABLE = "QWENVL_API_KEY"
_MIB = 1 << 20


def add(verbs: Verbs) -> None:
    """Register the verbs."""
    _options(verb(verbs, "serve", run, "answer over HTTP as OpenAI's API does, pictures and boxes included"))
    _options(verb(verbs, "demo", demo, "the server, and its page in a browser: drop a picture, ask, see the boxes"))


def run(options: argparse.Namespace) -> None:
    """`qwenvl serve`."""
    _serve(options, browse=False)


def demo(options: argparse.Namespace) -> None:
    """`qwenvl demo`."""
    _serve(options, browse=True)


def _options(p: argparse.ArgumentParser) -> None:
    model_options(p)
    p.set_defaults(model=None)
    p.add_argument("--name", metavar="NAME", help="what clients call the model (default: its folder's name)")
    p.add_argument(
        "--engine",
        choices=("own", "vllm"),
        default="own",
        help="what runs the model (default: own); vllm takes the device that it is built for",
    )
    p.add_argument("--host", default="127.0.0.1", help="where to listen (default: %(default)s, this machine alone)")
    p.add_argument("--port", type=_port, default=8000, help="default: %(default)s; 0 takes a free one")
    p.add_argument("--api-key", metavar="KEY", help=f"clients must send it; better set {KEY_VARIABLE}, which ps hides")
    p.add_argument("--allow-origin", action="append", default=[], metavar="ORIGIN", help="a page that may call (CORS)")
    p.add_argument(
        "--allow-host", action="append", default=[], metavar="NAME", help="a name that clients may call this server by"
    )
    p.add_argument(
        "--allow-image-host", action="append", default=[], metavar="HOST", help="pictures may be fetched from there"
    )
    p.add_argument("--running", type=positive, default=16, help="requests answered at a time (default: %(default)s)")
    p.add_argument("--waiting", type=positive, default=64, help="requests that may wait (default: %(default)s)")
    p.add_argument("--max-tokens", type=positive, default=2048, help="of one answer (default: %(default)s)")
    p.add_argument("--max-images", type=positive, default=16, help="of one request (default: %(default)s)")
    p.add_argument("--max-body", type=positive, default=32, metavar="MIB", help="of one request (default: %(default)s)")
    p.add_argument(
        "--timeout", type=positive, default=300, metavar="S", help="for one answer, in seconds (default: %(default)s)"
    )
    p.add_argument(
        "--grace", type=positive, default=30, metavar="S", help="for running answers at the end (default: %(default)s)"
    )


def _serve(options: argparse.Namespace, browse: bool) -> None:
    from qwenvl.serve.api import create_app
    from qwenvl.serve.api_server import listen
    from qwenvl.serve.api_server import run as serve
    from qwenvl.serve.starting import default_model, name_of

    model = options.model or default_model()
    name = options.name or name_of(model)
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    settings = _settings(options)
    with listen(options.host, options.port) as listening:
        port = listening.getsockname()[1]
        address = f"http://{_shown(options.host)}:{port}"
        print(f"{address} loads {model} …", flush=True)
        app = create_app(partial(_load, options, model, name), settings)
        serve(app, settings, listening, lambda: _ready(address, name, settings, browse))
    print("stopped")


def _load(options: argparse.Namespace, model: str, name: str) -> Served:
    from qwenvl.serve.starting import own, with_vllm

    limits = {"running": options.running, "waiting": options.waiting}
    if options.engine == "vllm":
        return with_vllm(model, name, options.dtype, limits)
    return own(model, name, options.device, options.dtype, limits)


def _settings(options: argparse.Namespace) -> ServeSettings:
    from qwenvl.serve.api_settings import ServeSettings

    key = options.api_key or os.environ.get(KEY_VARIABLE) or None
    if key is None and not _loopback(options.host):
        print(
            f"qwenvl: {options.host} can be reached from other machines, and without a key by everybody there; "
            f"set {KEY_VARIABLE}",
            file=sys.stderr,
        )
    names = tuple(name.lower() for name in options.allow_host)
    if names or _loopback(options.host):
        names += ("localhost", "127.0.0.1", "[::1]", options.host.lower())
    more: dict[str, Any] = {}
    if options.allow_image_host:
        from qwenvl.serve.fetch import fetcher

        more["fetch"] = fetcher(options.allow_image_host)
    for origin in options.allow_origin:
        if origin == "*" or "://" not in origin:
            raise UsageError(f"--allow-origin {origin}: expected a page's origin, such as https://example.org")
    return ServeSettings(
        key=key,
        origins=tuple(options.allow_origin),
        hosts=names,
        max_body=options.max_body * _MIB,
        max_bodies=8 * options.max_body * _MIB,
        max_images=options.max_images,
        max_tokens=options.max_tokens,
        request_seconds=float(options.timeout),
        grace_seconds=float(options.grace),
        **more,
    )


def _ready(address: str, name: str, settings: ServeSettings, browse: bool) -> None:
    key = f' -H "Authorization: Bearer ${KEY_VARIABLE}"' if settings.key else ""
    body = f'{{"model": "{name}", "messages": [{{"role": "user", "content": "Hello!"}}]}}'
    print(
        f"ready: {name}\n"
        f"  the page   {address}/\n"
        f"  the API    {address}/v1\n"
        f"  try it     curl {address}/v1/chat/completions{key} -H 'Content-Type: application/json' -d '{body}'\n"
        "Ctrl-C stops it.",
        flush=True,
    )
    if browse:
        import webbrowser

        webbrowser.open(address + "/")


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _shown(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"expected a port, 0 to 65535, not {text!r}")
    return int(text)
