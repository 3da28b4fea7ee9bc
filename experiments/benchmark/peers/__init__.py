"""One script per library compared with, each run inside its own environment."""
