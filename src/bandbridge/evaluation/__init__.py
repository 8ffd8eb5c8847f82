"""Metrics and comparisons, computed from predictions."""
