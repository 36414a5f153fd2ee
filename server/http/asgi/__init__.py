"""The complete front end: every route, by Quart on Hypercorn's HTTP/1.1."""
