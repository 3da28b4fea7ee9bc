"""Scripts that train networks. Each runs without arguments; `--help` lists settings."""
