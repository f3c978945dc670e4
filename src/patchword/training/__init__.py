"""Training: from what a user asked for to a finished run."""
