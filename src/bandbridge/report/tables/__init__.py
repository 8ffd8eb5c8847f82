"""The tables of a report, each from one frame of numbers."""
