"""What is run, one row or family of settings a file."""
