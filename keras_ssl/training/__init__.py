"""Training as on one device, on any number of them: what `fit` of a method does."""
