"""The only code that changes the store: new events, outcomes, and what leaves it. `transaction.py` is one group."""
