"""The admin side: metrics, health, look-ups and commands. What they do comes from `runtime/app.py`, as callables."""
