"""The server under a load of its own on loopback: throughput, time to the first token, overhead, and bad clients.

    python benchmarks/serve.py [--model nano] [--clients 16] [--requests 10000] [--parts overhead,throughput,…]

Every part starts its own server process, so that CPU seconds and memory are the server's alone. Figures are medians
over `--repeats`; on a shared machine trust the ratios, which come from one run, more than the times.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import io
import json
import multiprocessing
import os
import random
import statistics
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

sys.path.insert(0, str(Path(__file__).parents[1]))

PARTS = ("overhead", "throughput", "second", "mixed")
TOKENS = 32


# -- the server, in a process of its own -------------------------------------------------------------------------------


def scripted_server(port: Any, tokens: int) -> None:
    """The API over an engine that answers at once: what is left is the server's own work."""
    import threading

    from qwenvl.model.load import resolve
    from qwenvl.serve.api import Served, ServeSettings
    from qwenvl.serve.requests import End, Limits, Request, Token
    from qwenvl.text.tokenizer import QwenTokenizer

    tokenizer = QwenTokenizer.load(resolve("nano"))
    said = (tokenizer.encode("the red star is here and there ") * tokens)[:tokens]

    class Engine:
        limits = Limits(2048, 16, 1000, 0)

        def submit(self, request: Request, deliver: Any) -> Any:
            def work() -> None:
                for token in said:
                    deliver(Token(token))
                deliver(End("stop"))

            threading.Thread(target=work).start()
            return self

        def cancel(self) -> None:
            pass

        def figures(self) -> dict[str, float]:
            return {}

        def close(self, grace: float = 0.0) -> None:
            pass

    serve(port, lambda: Served("nano", tokenizer, 36, 96, Engine()), ServeSettings(page=False, max_requests=10_000))


def model_server(port: Any, model: str, running: int) -> None:
    """The API over our own engine."""
    from qwenvl.serve.api import ServeSettings
    from qwenvl.serve.starting import own

    settings = ServeSettings(page=False, read_seconds=3, header_seconds=3, max_requests=10_000)
    serve(port, lambda: own(model, "nano", "cpu", None, {"running": running, "waiting": 64}), settings)


def serve(port: Any, load: Any, settings: Any) -> None:
    """Serve, and tell the port."""
    from qwenvl.serve.api import create_app
    from qwenvl.serve.api_server import listen, run

    with listen("127.0.0.1", 0) as listening:
        port.value = listening.getsockname()[1]
        run(create_app(load, settings), settings, listening, lambda: None)


@dataclass(frozen=True)
class Running:
    """A server process."""

    url: str
    pid: int

    def cpu(self) -> float:
        """Seconds of all its threads so far."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def memory(self) -> float:
        """Resident, in MiB."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / (1 << 20)


@contextmanager
def running(target: Any, *arguments: Any) -> Iterator[Running]:
    """A server that is ready."""
    context = multiprocessing.get_context("spawn")
    port = context.Value("i", 0)
    process = context.Process(target=target, args=(port, *arguments), daemon=True)
    process.start()
    try:
        end = time.monotonic() + 120
        while time.monotonic() < end and process.is_alive():
            try:
                if port.value and httpx.get(f"http://127.0.0.1:{port.value}/ready").status_code == 200:
                    break
            except httpx.HTTPError:
                pass
            time.sleep(0.1)
        else:
            raise SystemExit("the server did not become ready")
        yield Running(f"http://127.0.0.1:{port.value}", process.pid or 0)
    finally:
        process.terminate()
        process.join(30)


# -- clients -----------------------------------------------------------------------------------------------------------


def picture(seed: int, side: int = 192) -> str:
    """A scene of the nano world as a "data:" URI."""
    from qwenvl.data.synth.scenes import scene_record

    buffer = io.BytesIO()
    scene_record(seed=seed, index=seed, split="test", size=side).images[0].pil().save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def question(words: str, *urls: str, **more: Any) -> dict[str, Any]:
    """A request's body; greedy, and as long as `TOKENS` unless it ends before."""
    content: list[Any] = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
    content.append({"type": "text", "text": words})
    return {"messages": [{"role": "user", "content": content}], "max_tokens": TOKENS, **more}


@dataclass
class Told:
    """What a stream took: seconds to the first token and in all, and its tokens."""

    first: float = 0.0
    whole: float = 0.0
    tokens: int = 0


async def ask(client: httpx.AsyncClient, url: str, body: dict[str, Any]) -> Told:
    """One streamed answer."""
    begin, told = time.perf_counter(), Told()
    body = {**body, "stream": True, "stream_options": {"include_usage": True}}
    async with client.stream("POST", url + "/v1/chat/completions", json=body) as response:
        if response.status_code != 200:
            raise SystemExit(f"{response.status_code}: {(await response.aread()).decode()}")
        async for line in response.aiter_lines():
            if line.startswith("data: {"):
                chunk = json.loads(line[6:])
                if not told.first and chunk["choices"] and chunk["choices"][0]["delta"].get("content"):
                    told.first = time.perf_counter() - begin
                if chunk.get("usage"):
                    told.tokens = chunk["usage"]["completion_tokens"]
    told.whole = time.perf_counter() - begin
    return told


async def clients(url: str, count: int, each: int, pictures: list[str]) -> tuple[float, list[Told]]:
    """Tokens a second of `count` clients with `each` questions one after the other, and every answer's times."""
    told: list[Told] = []
    words = "Describe the picture in detail."
    async with httpx.AsyncClient(timeout=600, limits=httpx.Limits(max_connections=count)) as client:

        async def one(number: int) -> None:
            for turn in range(each):
                chosen = pictures[(number * each + turn) % len(pictures)]
                told.append(await ask(client, url, question(f"{words} ({number}.{turn})", chosen)))

        begin = time.perf_counter()
        await asyncio.gather(*(one(number) for number in range(count)))
        seconds = time.perf_counter() - begin
    return sum(item.tokens for item in told) / seconds, told


# -- parts -------------------------------------------------------------------------------------------------------------


def overhead(options: argparse.Namespace) -> None:
    """CPU seconds of the server a request, with an engine that costs nothing."""
    body = question("Where is the red star?", picture(1))
    plain = question("Where is the red star?")
    for tokens in (1, 16):
        with running(scripted_server, tokens) as server, httpx.Client() as client:
            kinds = (("text", plain, {}), ("picture", body, {}), ("picture, stream", body, {"stream": True}))
            for name, asked, more in kinds:
                seconds, cpu = [], []
                for _ in range(options.repeats):
                    count, begin, before = 200, time.perf_counter(), server.cpu()
                    for _ in range(count):
                        client.post(server.url + "/v1/chat/completions", json={**asked, **more}).raise_for_status()
                    seconds.append((time.perf_counter() - begin) / count)
                    cpu.append((server.cpu() - before) / count)
                print(
                    f"overhead: {name}, answers of {tokens} tokens: {1000 * statistics.median(cpu):.2f} ms CPU, "
                    f"{1000 * statistics.median(seconds):.2f} ms round trip (client included)",
                    flush=True,
                )


def throughput(options: argparse.Namespace) -> None:
    """Many clients against one."""
    pictures = [picture(seed) for seed in range(8)]
    with running(model_server, options.model, options.clients) as server:
        asyncio.run(clients(server.url, 2, 2, pictures))  # warm
        ratios = []
        for _ in range(options.repeats):
            alone, _ = asyncio.run(clients(server.url, 1, 8, pictures))
            before = server.cpu()
            together, told = asyncio.run(clients(server.url, options.clients, 4, pictures))
            cpu = server.cpu() - before
            ratios.append(together / alone)
            firsts = sorted(item.first for item in told)
            print(
                f"throughput: 1 client {alone:.0f} tokens/s, {options.clients} clients {together:.0f}: "
                f"{together / alone:.2f} x; first token p50 {1000 * statistics.median(firsts):.0f} ms, "
                f"p95 {1000 * firsts[int(0.95 * len(firsts))]:.0f} ms; {cpu:.1f} CPU s",
                flush=True,
            )
        print(f"throughput: median {statistics.median(ratios):.2f} x")


def second(options: argparse.Namespace) -> None:
    """The first token of a second question about the same picture."""

    async def both(url: str, seed: int) -> tuple[float, float]:
        shown = picture(1000 + seed, options.picture)
        async with httpx.AsyncClient(timeout=600) as client:
            await ask(client, url, question("warm", max_tokens=1))
            first = await ask(client, url, question("What is to the left?", shown))
            again = await ask(client, url, question("How many stars are there?", shown))
        return first.first, again.first

    with running(model_server, options.model, options.clients) as server:
        found = [asyncio.run(both(server.url, seed)) for seed in range(4 * options.repeats)][1:]
        first, again = (statistics.median(side) for side in zip(*found, strict=True))
        print(
            f"second: first question {1000 * first:.1f} ms to its first token, second {1000 * again:.1f} ms: "
            f"{first / again:.2f} x"
        )


@dataclass
class Bad:
    """Counts what became of requests, by what was expected of them."""

    found: Counter[str] = field(default_factory=Counter)
    wrong: Counter[str] = field(default_factory=Counter)

    def note(self, name: str, status: int, expected: tuple[int, ...]) -> None:
        self.found[f"{name} {status}"] += 1
        if status not in expected:
            self.wrong[f"{name} {status}, expected {expected}"] += 1


def mixed(options: argparse.Namespace) -> None:
    """Good requests among malformed, slow and disconnecting ones: nothing crashes, nothing leaks."""
    with running(model_server, options.model, options.clients) as server:
        bad, samples = Bad(), []
        batch = max(1, options.requests // 20)
        pictures = [picture(seed) for seed in range(16)]
        for number in range(20):
            asyncio.run(_mixed_batch(server.url, batch, number, bad, pictures))
            samples.append(server.memory())
            if number in (0, 4, 9, 14, 19):
                print(f"mixed: {batch * (number + 1)} requests, {samples[-1]:.0f} MiB", flush=True)
        page = httpx.get(server.url + "/metrics").text
        alive = httpx.post(server.url + "/v1/chat/completions", json=question("?", max_tokens=1)).status_code
        growth = statistics.median(samples[-4:]) / statistics.median(samples[4:8]) - 1
        print("mixed: " + ", ".join(f"{name}: {count}" for name, count in sorted(bad.found.items())))
        print(f"mixed: wrong: {dict(bad.wrong) or 'none'}; afterwards {alive}; memory {100 * growth:+.1f} %")
        print("mixed: " + "; ".join(line for line in page.splitlines() if line.startswith("qwenvl_engine_")))


async def _mixed_batch(url: str, count: int, seed: int, bad: Bad, pictures: list[str]) -> None:
    rng = random.Random(seed)
    room = asyncio.Semaphore(32)
    async with httpx.AsyncClient(timeout=120, limits=httpx.Limits(max_connections=40)) as client:

        async def one() -> None:
            async with room:
                kind = rng.random()
                body = question(f"Where is it? {rng.random()}", rng.choice(pictures), max_tokens=4)
                if kind < 0.8:
                    more = {"stream": True} if rng.random() < 0.5 else {}
                    found = await client.post(url + "/v1/chat/completions", json={**body, **more})
                    bad.note("good", found.status_code, (200, 429))
                elif kind < 0.88:
                    await _malformed(client, url, rng, bad)
                elif kind < 0.94:
                    await _leaves(client, url, rng, {**body, "max_tokens": 200}, bad)
                else:
                    await _raw(url, rng, bad)

        await asyncio.gather(*(one() for _ in range(count)))


async def _malformed(client: httpx.AsyncClient, url: str, rng: random.Random, bad: Bad) -> None:
    broken: list[tuple[dict[str, Any], tuple[int, ...]]] = [
        ({"content": b"{"}, (400,)),
        ({"json": {"messages": []}}, (400,)),
        ({"json": question("x", tools=[])}, (400,)),
        ({"json": question("x", "file:///etc/passwd")}, (400,)),
        ({"json": question("x", "data:image/png;base64,AAAA")}, (422,)),
        ({"json": question("x " * 5000)}, (400,)),
        ({"json": question("x", model="other")}, (404,)),
        ({"json": question("x " * 500_000)}, (413, 400)),
    ]
    arguments, expected = rng.choice(broken)
    headers = {"Content-Type": "application/json"}
    found = await client.post(url + "/v1/chat/completions", headers=headers, **arguments)
    bad.note("malformed", found.status_code, expected)


async def _leaves(client: httpx.AsyncClient, url: str, rng: random.Random, body: dict[str, Any], bad: Bad) -> None:
    """Asks for a long answer and goes away within it."""
    try:
        limit = httpx.Timeout(120, read=rng.uniform(0.005, 0.1))
        more = {"stream": rng.random() < 0.5}
        found = await client.post(url + "/v1/chat/completions", json={**body, **more}, timeout=limit)
        bad.note("leaves, answered before", found.status_code, (200, 429))
    except httpx.TimeoutException:
        bad.note("leaves", 0, (0,))


async def _raw(url: str, rng: random.Random, bad: Bad) -> None:
    """Half a head, half a body, or bytes that are no HTTP."""
    host, port = url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    head = b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{"
    kind = rng.randrange(4)
    sent, stays = ((head[:40], True), (head, True), (head, False), (b"\x16\x03\x01" + bytes(64), True))[kind]
    expected = ((0,), (408,), (0,), (400,))[kind]
    writer.write(sent)
    await writer.drain()
    answer = await asyncio.wait_for(reader.read(200), 30) if stays else b""
    writer.close()
    bad.note(("half a head", "half a body", "gone", "no HTTP")[kind], int(answer[9:12] or 0), expected)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="nano")
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--requests", type=int, default=10_000, help="of the mixed load")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--picture", type=int, default=192, help="side of the pictures of `second`")
    parser.add_argument("--parts", default=",".join(PARTS))
    options = parser.parse_args()
    for name in options.parts.split(","):
        globals()[name](options)


if __name__ == "__main__":
    main()
