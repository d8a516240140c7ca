"""Teachers and students as transformers models: one view over all families, starts, vocabularies."""
