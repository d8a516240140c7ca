"""A study folder as a checked value."""
