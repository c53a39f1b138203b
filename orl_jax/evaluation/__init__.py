"""Held-out accuracy of checkpoints."""
