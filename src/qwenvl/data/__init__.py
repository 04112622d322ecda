"""The data engine: pictures, sources, the scene world, shards, packing and loading."""
