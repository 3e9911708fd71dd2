"""Spans on one side, stores and wires on the other: exporters that lose nothing."""
