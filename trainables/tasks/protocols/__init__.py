"""How a model is scored on a task: by a probe on frozen features, or by fine-tuning."""
