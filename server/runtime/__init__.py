"""The running process: composition, start and drain, signals, reload."""
