"""Many trials: the spec, the sampler, the store, the run on Ray, and the command line."""
