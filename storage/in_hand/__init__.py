"""What is with processors, in a file that outlives the process."""
