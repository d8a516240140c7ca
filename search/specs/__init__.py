"""Shipped studies: each .toml here is a complete spec, and a test case."""
