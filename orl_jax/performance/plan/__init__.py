"""Whether a config fits in the memory of its devices, told before any weight exists."""
