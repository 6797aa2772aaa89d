"""Models: the registry of what may serve where, and the rollouts that change it."""
