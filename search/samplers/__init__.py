"""Samplers of Optuna: those that a study may name, and our own, which anyone can use in a study of theirs."""
