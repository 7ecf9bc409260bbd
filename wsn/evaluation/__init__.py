"""How good subnets are: evaluating many of them, metrics, what counts as good, fronts."""
