"""The training that `fit` of a method does, with the same results on any number of devices."""

# Nothing here is for users: what they need for several devices is in `keras_ssl.distribution`.
__all__: list[str] = []
