"""The search space: its axes, what is feasible, every configuration of it, and comparisons."""
