"""What papers report, and what this library makes of it: `python -m paper_repro --help`.

Each paper has a folder with its rows (what is run), `targets.toml` (the paper's figures),
`results/` (one JSON file per run) and RESULTS.md, which is generated from both.
"""
