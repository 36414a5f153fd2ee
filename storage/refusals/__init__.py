"""The last refused requests of each source, in a file that outlives the process."""
