"""What to try next: ask and tell, samplers, surrogate, rungs, comparisons."""
