"""Weight providers: tensors of a subnet that are more than slices of the shared ones."""
