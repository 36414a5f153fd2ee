"""Faults done to a server until something gives: a few rounds of each in the suite, many on demand.

    python -m tests.torture [PART …]

Each part is a file with its FAULTS. What was found is kept in `bench/results/torture/`.
"""
