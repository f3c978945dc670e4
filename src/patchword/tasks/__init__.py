"""Tasks: an objective each, trained by the one loop."""
