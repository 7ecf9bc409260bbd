"""Routers of language models: budget, or input, → choices; relaxed for training, hard for running."""
