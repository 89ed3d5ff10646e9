"""Reading, writing and trusting checkpoints."""
