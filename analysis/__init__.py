"""Reads a study folder (Parquet, study.json, spec.toml) and says what came out of it; needs neither torch nor Ray."""
