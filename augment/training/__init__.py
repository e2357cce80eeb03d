"""Training: state and checkpoints, the latent cache, and what is trained on it."""
