"""A collector of OpenTelemetry's traces: a small server for OTLP over HTTP, as agents run one."""

import gzip
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue


@dataclass(frozen=True)
class Span:
    """A span as it was sent; ids are hexadecimal, ``parent`` is '' without one."""

    service: str
    name: str
    trace: str
    id: str
    parent: str
    attributes: dict[str, Any]


class Collector(ThreadingHTTPServer):
    """Keeps what is sent to it. ``raw`` is all of it, as bytes."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.spans: list[Span] = []
        self.raw = b""
        self._came = threading.Condition()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def take(self, body: bytes) -> None:
        with self._came:
            self.raw += body
            self.spans += _spans(ExportTraceServiceRequest.FromString(body))
            self._came.notify_all()

    def wait_for(self, wanted: Callable[[list[Span]], bool]) -> list[Span]:
        """All spans, once they are as they should be."""
        with self._came:
            if not self._came.wait_for(lambda: wanted(self.spans), timeout=30):
                raise AssertionError([(span.service, span.name) for span in self.spans])
            return list(self.spans)


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        assert self.path == "/v1/traces"
        assert isinstance(self.server, Collector)
        self.server.take(gzip.decompress(body) if self.headers["Content-Encoding"] == "gzip" else body)
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def _spans(request: ExportTraceServiceRequest) -> Iterator[Span]:
    for resource in request.resource_spans:
        service = _attributes(resource.resource.attributes)["service.name"]
        for scope in resource.scope_spans:
            for span in scope.spans:
                ids = (span.trace_id.hex(), span.span_id.hex(), span.parent_span_id.hex())
                yield Span(service, span.name, *ids, _attributes(span.attributes))


def _attributes(found: Any) -> dict[str, Any]:
    def value(of: KeyValue) -> Any:
        return getattr(of.value, str(of.value.WhichOneof("value")))

    return {of.key: value(of) for of in found}


@contextmanager
def collector() -> Iterator[Collector]:
    """One that runs."""
    with Collector() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
