"""The distillation losses, and their fused forms."""
