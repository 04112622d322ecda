"""Text, tokens and coordinates: everything between a `Sample` and the ids that the model sees. Imports no torch."""
