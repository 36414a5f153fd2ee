"""What every room may use: workers, the log, clocks, refusals."""
