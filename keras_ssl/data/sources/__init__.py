"""Where images come from: one file per source, and `by_name.py`, whose `load` picks the source.

`keras_ssl.data` lists the public names.
"""
