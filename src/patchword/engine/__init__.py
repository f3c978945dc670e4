"""The engine: the loop, its run directory, and what steps are made of."""
