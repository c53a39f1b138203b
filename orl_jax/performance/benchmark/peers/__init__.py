"""Programs of peers. Each runs with a Python of its own, and imports only what is beside it."""
