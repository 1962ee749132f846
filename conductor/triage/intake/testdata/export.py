# Exports an error as a log record and as a span, with each exporter of
# OpenTelemetry for Python. The arguments are the address and the token.
import logging
import sys

from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GRPCSpans
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter as HTTPLogs
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HTTPSpans
from opentelemetry.sdk._logs import LoggerProvider, LoggingHandler
from opentelemetry.sdk._logs.export import SimpleLogRecordProcessor
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.trace import StatusCode

address, token = sys.argv[1:]
headers = {"authorization": "Bearer " + token}
resource = Resource.create({"service.name": "gateway"})

logs = LoggerProvider(resource=resource)
logs.add_log_record_processor(SimpleLogRecordProcessor(HTTPLogs("http://" + address + "/v1/logs", headers=headers, compression=Compression.Gzip)))
log = logging.getLogger("python")
log.addHandler(LoggingHandler(logger_provider=logs))
log.error("lost", extra={"event.name": "python.http"})
log.info("fine")

spans = TracerProvider(resource=resource)
spans.add_span_processor(SimpleSpanProcessor(HTTPSpans("http://" + address + "/v1/traces", headers=headers)))
spans.add_span_processor(SimpleSpanProcessor(GRPCSpans(address, insecure=True, headers=headers)))
for name, code in (("GET /python", StatusCode.ERROR), ("GET /fine", StatusCode.OK)):
    with spans.get_tracer("python").start_as_current_span(name) as span:
        span.set_status(code)

logs.shutdown()
spans.shutdown()
