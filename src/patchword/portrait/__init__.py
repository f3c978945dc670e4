"""Portraits: what a trained model looks at and has learnt, put on a page."""
