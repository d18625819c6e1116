"""A study from Python: what it has made, as arrays, frames and pictures, and questions of one's own.

What is public is listed in `progsem.__all__`, with the attributes that docs/python.md names. Nothing is read twice:
states are paired with labels as the stage `probes` does it, specifications and probes are those of the stages.
"""
