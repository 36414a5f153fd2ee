"""The admin side: metrics, health, look-ups and commands."""
