"""One file for each row, or for rows that belong together."""
