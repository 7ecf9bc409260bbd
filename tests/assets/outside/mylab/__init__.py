"""What a user keeps outside the repository: a backbone, a method, a sampler and a data set of their own."""
