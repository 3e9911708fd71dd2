"""Jaeger's query API over the history: what Jaeger's UI and Grafana's Jaeger data source ask, answered as Jaeger does.

Source: https://www.jaegertracing.io/docs/latest/architecture/apis/, and of what that page leaves open Jaeger's
`cmd/query/app/query_parser.go` (parameters) and `model/json/model.go` (answers). Times are microseconds. The one
service is the bridge's own `service.name`; an operation is `execute <plugin>`.
"""
