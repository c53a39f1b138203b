"""Oracles that change what another Oracle says."""
