"""Whether a config fits in the memory of its devices, before any weights exist."""
