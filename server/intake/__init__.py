"""Intake: pure functions that turn bytes, headers and a time into an admitted delivery or a refusal."""
