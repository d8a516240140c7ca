"""The transfer methods, a file each, and the formulas that they share, among them fused forms."""
