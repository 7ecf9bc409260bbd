"""Searching a trained supernet for subnets: strategies, predictors, and how good a ranking is."""
