"""Ray: the cluster, Tune over lanes, progress and loggers."""
