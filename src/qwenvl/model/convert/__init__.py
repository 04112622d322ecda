"""Weights of other forms, in and out."""
