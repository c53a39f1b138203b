"""Speed of the system: time per stage, savings from a shared prompt, comparison with peers."""
