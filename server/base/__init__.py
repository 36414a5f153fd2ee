"""What every package may use: workers, the log, clocks, refusals."""
