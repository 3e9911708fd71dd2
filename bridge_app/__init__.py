"""The bridge: webhooks in, plugins run, history served. One program on top of otel_tracker and exporters."""
