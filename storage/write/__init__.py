"""The only code that changes the store: new events and outcomes, in groups; `transaction.py` is one.

Nothing leaves the store yet. What shall leave it is a part of a group; to `read/snapshot.py` what is missing is damage.
"""
