"""The stages: vision warm-up, SFT, RL, and the loop that they share."""
