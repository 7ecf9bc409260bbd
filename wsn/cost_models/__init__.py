"""What a subnet costs, as objectives and constraints of a search: each a function of (supernet, subnet)."""
