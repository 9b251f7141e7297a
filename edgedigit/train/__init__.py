"""Training: losses, the trainer, checkpoints, evaluation."""
