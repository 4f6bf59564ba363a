"""Where images come from: one file per source, and `by_name.py`, whose `load` picks the source.

`keras_ssl.data` lists the public names.
"""

# Empty, because `keras_ssl.data` imports the public names from the files.
__all__: list[str] = []
