"""What the server counts, for Prometheus. Nothing of a request's content is in it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
_LENGTHS = (16, 64, 256, 512, 1024, 2048, 4096)


class Metrics:
    """Counters of one server; `figures` are its engine's, read when the page of metrics is."""

    def __init__(self, figures: Callable[[], Mapping[str, float]]) -> None:
        self.registry = CollectorRegistry()
        name = "qwenvl_"
        self.requests = Counter(name + "requests", "Requests answered.", ["path", "status"], registry=self.registry)
        self.errors = Counter(name + "errors", "Requests refused or failed.", ["kind"], registry=self.registry)
        self.at_work = Gauge(name + "requests_at_work", "Requests being answered now.", registry=self.registry)
        self.seconds = Histogram(
            name + "request_seconds", "Time for a request.", ["path"], buckets=_SECONDS, registry=self.registry
        )
        self.first_token = Histogram(
            name + "first_token_seconds",
            "Time from the engine's queue to the first token.",
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.prompt_length = Histogram(
            name + "prompt_tokens", "Tokens of a prompt.", buckets=_LENGTHS, registry=self.registry
        )
        self.generated = Counter(name + "generated_tokens", "Tokens generated.", registry=self.registry)
        self.pictures = Counter(name + "pictures", "Pictures in prompts.", registry=self.registry)
        self.disconnected = Counter(name + "disconnects", "Clients that went away early.", registry=self.registry)
        self.registry.register(_EngineFigures(figures))

    def asked(self, length: int, pictures: int) -> None:
        """A prompt was taken."""
        self.prompt_length.observe(length)
        self.pictures.inc(pictures)

    def answered(self, tokens: int) -> None:
        """An answer ended, whole or not."""
        self.generated.inc(tokens)

    def page(self) -> bytes:
        """In Prometheus' text form."""
        return generate_latest(self.registry)


class _EngineFigures(Collector):
    """An engine's figures: those named `…_total` are counters, the rest gauges."""

    def __init__(self, figures: Callable[[], Mapping[str, float]]) -> None:
        self._figures = figures

    def collect(self) -> Iterable[Metric]:
        """As Prometheus asks for them."""
        for name, value in self._figures().items():
            counts = name.endswith("_total")
            family = CounterMetricFamily if counts else GaugeMetricFamily
            text = name.removesuffix("_total").replace("_", " ")
            yield family(f"qwenvl_engine_{name}", f"The engine's {text}.", value=value)

    def describe(self) -> Iterable[Metric]:
        """Nothing ahead: which figures there are is the engine's affair."""
        return ()
