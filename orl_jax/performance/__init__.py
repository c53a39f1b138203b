"""What it costs: memory plans, benchmarks, profiles."""
