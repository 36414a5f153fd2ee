"""What is forgotten: taken out of every record that holds it, and overwritten wherever a file still had it."""
