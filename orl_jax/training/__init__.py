"""What trains anything: the loop of all stages, its parts, the vision warm-up and SFT."""
