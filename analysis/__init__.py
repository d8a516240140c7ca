"""Reads a study folder (Parquet, study.json, spec.toml) and says what came out of it; needs neither torch nor Ray.

In a notebook: `study = analysis.load("studies/quick")`, then `study.trials`, `study.front()`, `study.pick(...)` and
`study.figure("front")`. docs/reading_a_study.py shows them all.
"""

from analysis.api import Study, load

__all__ = ["Study", "load"]
