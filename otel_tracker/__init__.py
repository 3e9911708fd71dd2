"""Track executions as OpenTelemetry spans."""
