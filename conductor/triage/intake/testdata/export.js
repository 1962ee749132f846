// Exports an error as a log record in JSON and as a span in protobuf, with the
// exporters of OpenTelemetry for JavaScript. The arguments are the address and
// the token.
const { OTLPLogExporter } = require("@opentelemetry/exporter-logs-otlp-http");
const { OTLPTraceExporter } = require("@opentelemetry/exporter-trace-otlp-proto");
const { LoggerProvider, SimpleLogRecordProcessor } = require("@opentelemetry/sdk-logs");
const { BasicTracerProvider, SimpleSpanProcessor } = require("@opentelemetry/sdk-trace-base");

const [address, token] = process.argv.slice(2);
const headers = { authorization: `Bearer ${token}` };

async function main() {
  const log = new OTLPLogExporter({ url: `http://${address}/v1/logs`, headers, compression: "gzip" });
  const logs = new LoggerProvider({ processors: [new SimpleLogRecordProcessor({ exporter: log })] });
  const logger = logs.getLogger("node");
  const attributes = { "service.name": "gateway" };
  logger.emit({ severityNumber: 17, eventName: "node.lost", body: "lost", attributes });
  logger.emit({ severityNumber: 9, eventName: "node.fine", attributes });

  const trace = new OTLPTraceExporter({ url: `http://${address}/v1/traces`, headers });
  const spans = new BasicTracerProvider({ spanProcessors: [new SimpleSpanProcessor(trace)] });
  for (const [name, code] of [["GET /node", 2], ["GET /fine", 1]]) {
    spans.getTracer("node").startSpan(name, { attributes }).setStatus({ code }).end();
  }
  await logs.forceFlush();
  await spans.forceFlush();
  await logs.shutdown();
  await spans.shutdown();
}

main();
