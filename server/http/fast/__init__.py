"""The fast front end: deliveries on plain HTTP/1.1, served by one task."""
