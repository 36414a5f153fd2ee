"""HTTP: everything between a socket and the gate."""
