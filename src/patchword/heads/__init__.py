"""Heads: features in, predictions out. One paper, one file; none knows a backbone by name."""
