"""Benchmarks: how fast, how much memory, against what. Each runs tiny in the test suite and real on demand."""
