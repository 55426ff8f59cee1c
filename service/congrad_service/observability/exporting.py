"""Sends spans to a collector, by OTLP over HTTP. It needs the extra `otel`; `tracing.py` imports it where it is on."""

import os

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.environment_variables import OTEL_SERVICE_NAME
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import Span, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

QUERY = "url.query"


class NoQueries(SpanProcessor):
    """Hides what FastAPI notes of a request's query, for the reason that logs do not have it either."""

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:  # noqa: ARG002 # the SDK names them
        if QUERY in (span.attributes or {}):
            span.set_attribute(QUERY, "REDACTED")


def exporting_provider(service_name: str) -> TracerProvider:
    """The provider of this process, FastAPI's too; where spans go, the SDK reads from the environment.

    :param service_name: what it is called in the traces, where ``OTEL_SERVICE_NAME`` does not say.
    """
    name = os.environ.get(OTEL_SERVICE_NAME) or service_name
    provider = TracerProvider(resource=Resource.create({SERVICE_NAME: name}))
    provider.add_span_processor(NoQueries())
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    return provider
