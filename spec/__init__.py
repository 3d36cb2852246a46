"""The documented Config API, executable: cases that judge any implementation from outside, over its own interfaces.

`python -m spec URL` runs it; README.md has the clauses and how to read the results. Nothing here imports the
implementation that it came with. Read case.schema.yaml for what a case is, then play.py for what is done with one.
"""
