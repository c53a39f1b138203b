"""Runs of several stages: the demo, comparisons, the bandit."""
