"""Evaluation of subnets: BN calibration, metrics, tasks and their quality, Pareto fronts."""
