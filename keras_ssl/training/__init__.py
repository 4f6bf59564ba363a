"""Training as on one device, on any number of them: what `fit` of a method does."""

# Nothing is for users: what they need of devices is in `keras_ssl.distribution`.
__all__: list[str] = []
