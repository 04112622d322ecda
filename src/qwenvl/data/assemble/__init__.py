"""Building a corpus: sources → tasks, filters, no copies, no held-out pictures → shards with a card."""
