"""Inspection: what a model has learnt and looks at. Models hold no code for it."""
