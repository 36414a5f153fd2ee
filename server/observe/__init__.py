"""What a running server tells of itself: metrics, health, sources, receipts."""
