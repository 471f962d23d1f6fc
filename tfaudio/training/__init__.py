"""Finding weights: strategy, schedule, checkpoints."""
