"""The page, the terminal, and the live view."""
