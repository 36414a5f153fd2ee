"""The configuration: its settings, how they are read and checked, and what they may take."""
