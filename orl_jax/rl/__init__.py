"""The paper's method, from a rollout to an update."""
