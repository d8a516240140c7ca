"""What is written down: columns, objectives, fronts over rows, and the filesystems they lie on."""
