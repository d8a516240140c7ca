"""The study folder: Parquet parts, lease, history, what is kept."""
