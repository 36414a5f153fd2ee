"""The configuration: its settings, how they are read and checked, and the resources that they may use."""
