"""Oracles that change another Oracle's rankings."""
