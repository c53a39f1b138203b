"""A matrix of runs from one start: arms (algorithm, form, Oracle, group size, …) times seeds."""
