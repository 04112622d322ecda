"""The cleaning engine: rules that keep, change or drop a web pair and say why (paper appendix A.1, DESIGN §8)."""
