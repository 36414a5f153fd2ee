"""Which front end the servers under test use for deliveries: set once, by pytest's option `--front-end`."""

fast_lane = True
