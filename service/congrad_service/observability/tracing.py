"""Traces by OpenTelemetry: off, and nothing of it loaded here, unless the environment says where they go.

``OTEL_EXPORTER_OTLP_ENDPOINT`` turns them on (OTLP over HTTP); the SDK reads the other ``OTEL_`` variables. FastAPI
makes a span of each request by itself. A job carries its place in the trace along in Redis, so that a task which is
delivered again, or sent again by another process, belongs to the same trace.
"""

import json
import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")

log = logging.getLogger(__name__)

_provider: "TracerProvider | None" = None


def begin(service_name: str) -> None:
    """Exports the spans of this process from now on, if the environment says where to."""
    global _provider
    if not any(os.environ.get(name) for name in ENDPOINTS):
        return
    try:
        from congrad_service.observability.exporting import exporting_provider
    except ImportError:
        log.warning("%s is set, and there are no traces without: pip install 'congrad-filter[otel]'", ENDPOINTS[0])
        return
    _provider = exporting_provider(service_name)


def end() -> None:
    """Sends what has not been sent yet."""
    if _provider is not None:
        _provider.shutdown()


@contextmanager
def span(name: str, **attributes: Any) -> Iterator[None]:
    """A span around the block, within the current one. Of an error it has the class: the message may quote a sample."""
    if _provider is None:
        yield
        return
    from opentelemetry.trace import StatusCode

    with _provider.get_tracer("congrad").start_as_current_span(
        name, attributes=_named(attributes), record_exception=False, set_status_on_exception=False
    ) as current:
        try:
            yield
        except Exception as error:
            current.set_attribute("error.type", type(error).__qualname__)
            current.set_status(StatusCode.ERROR)
            raise


def note(**attributes: Any) -> None:
    """Adds to the current span what was not known when it began."""
    if _provider is not None:
        from opentelemetry import trace

        trace.get_current_span().set_attributes(_named(attributes))


def carried() -> str:
    """The current place in the trace, for a job to carry along: '' where there is none."""
    if _provider is None:
        return ""
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    carrier: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(carrier)
    return json.dumps(carrier) if carrier else ""


@contextmanager
def continued(carried: str) -> Iterator[None]:
    """The block belongs to the trace in whose place `carried` was called."""
    if _provider is None or not carried:
        yield
        return
    from opentelemetry import context
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    token = context.attach(TraceContextTextMapPropagator().extract(json.loads(carried)))
    try:
        yield
    finally:
        context.detach(token)


def ids() -> Mapping[str, str]:
    """The current trace and span, for a line of the log."""
    if _provider is None:
        return {}
    from opentelemetry import trace

    here = trace.get_current_span().get_span_context()
    if not here.is_valid:
        return {}
    return {"trace_id": trace.format_trace_id(here.trace_id), "span_id": trace.format_span_id(here.span_id)}


def _named(attributes: Mapping[str, Any]) -> dict[str, Any]:
    return {f"congrad.{name}": value for name, value in attributes.items() if value is not None}
