"""OTLP, the OpenTelemetry protocol: records as its messages, and its messages as records."""
