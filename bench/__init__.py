"""Benchmarks: ratios to a reference measurement of the same run, medians of several rounds."""
