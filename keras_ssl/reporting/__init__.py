"""One HTML page about a run, or several side by side, to keep and to send.

A run is any folder with TensorBoard events of an `EmbeddingInspector`. The page shows options,
diagnosis, evaluation, curves, spectrum, matrices and views, and the results.json that
`keras-ssl pretrain` leaves beside the events. It contains its pictures and loads nothing.
"""

# Empty, because `keras_ssl.report` is the door, as a command of `keras-ssl` is.
__all__: list[str] = []
