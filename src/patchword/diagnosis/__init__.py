"""The doctor: looks at a data set before anyone trains on it, and never writes into it."""
