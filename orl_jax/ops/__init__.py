"""Pure functions of arrays: ranks and gains, advantages, log-probabilities, losses."""
