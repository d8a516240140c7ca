"""Trials on Ray: the trial, the worker that runs it, the lane that Tune sees."""
