"""Labelled tasks: rows, reading, scoring by probe or fine-tuning, metrics."""
