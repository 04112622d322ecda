"""Benchmarks: each file says what is asked, of which split, and what the scores are called."""
