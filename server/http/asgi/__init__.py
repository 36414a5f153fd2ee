"""The complete front end: every route, with Quart on Hypercorn's HTTP/1.1."""
