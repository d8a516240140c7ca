"""The phases of a study: prepare, run, score, finish, profile, promote."""
