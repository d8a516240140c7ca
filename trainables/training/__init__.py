"""The training loop, its batches, the teacher's targets, and checkpoints."""
