"""Flow: the way of an event after intake: committer, queue, consumer, processor."""
