"""Our models in other people's evaluation harnesses; none of them is a dependency."""
