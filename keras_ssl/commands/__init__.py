"""What one does with images and an encoder: each is a Python function and a command of `keras-ssl`.

One file per command, named after it: its function's signature and docstring are the command line,
which `keras_ssl/cli.py` makes of them. A function checks what it is given before it writes or
computes anything, raises `ValueError` or `TypeError` in one sentence that names the argument, and
says what it does through `keras_ssl._log`.
"""

# In the order in which one uses them. Each is imported when it is used; `keras_ssl.pretrain` and
# its like are the functions.
__all__ = ["pretrain", "evaluate", "embed", "neighbors", "finetune", "export", "report", "study"]  # noqa: F822
