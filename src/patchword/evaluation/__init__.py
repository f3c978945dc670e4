"""Evaluation: what a model's answers are worth."""
