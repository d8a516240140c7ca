"""Text to blocks of tokens: sources, packing, masking, languages, docstrings."""
