"""What may be tried, and what is recorded: shapes, methods, mappings, the search space and the Parquet schemas."""
