"""Benchmarks: ratios measured in one run, on whatever machine."""
