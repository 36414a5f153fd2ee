"""Keeps the look-up index: reads what has come, and plans what to add, to merge and to drop."""
