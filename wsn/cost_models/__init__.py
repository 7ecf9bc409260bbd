"""Cost models, for objectives and constraints of a search: each is a function of (supernet, subnet)."""
