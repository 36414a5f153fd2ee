"""The only code that changes the store: new events, outcomes, and what leaves, in groups; `transaction.py` is one."""
