"""The study spec: its sections, reading and checking them."""
