"""Synthetic data: worlds of which everything is known because they were drawn here."""
