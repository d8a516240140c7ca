"""One trial, from a configuration to numbers: corpus, teacher, student, losses, loop, scores, export."""
