"""Flow: the way of an event after intake: acknowledger, committer, queue, consumer, processor.

A processor is the one way to hand events on: `processor.py` loads and calls it, `runner.py` makes it for its source.
"""
