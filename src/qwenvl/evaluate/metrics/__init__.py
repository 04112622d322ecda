"""Metrics: each file turns predictions and truths into per-item results; `stats` turns those into scores with
intervals.
"""
