"""What a student can be: its shape, how it is taught, which layer learns from which."""
