"""What made the difference: effects, importance, comparisons with tests."""
