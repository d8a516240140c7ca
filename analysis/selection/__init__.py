"""Which students are worth having: the front, and the one to take."""
