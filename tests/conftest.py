"""What all tests share: Hypothesis runs the same examples every time, and is not judged by the clock."""

from hypothesis import settings

settings.register_profile("tidegate", derandomize=True, deadline=None)
settings.load_profile("tidegate")
