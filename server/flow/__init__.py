"""Flow: the way of an event after intake: acknowledger, committer, queue, consumer, processor.

A processor is the one way to hand events on: `engine.py` loads its function, `runner.py` makes it for its source,
`attempts.py` calls it, `processor.py` says what that means. A source without one is `archive_only`.
"""
