"""Command lines of `keras-ssl`, called as functions."""

from keras_ssl import cli, registry
from keras_ssl.commands.pretrain import pretrain as function
from keras_ssl.pretraining import options


def pretrain(arguments):
    """Runs `keras-ssl pretrain` and returns the run's folder."""
    return cli.call(["pretrain", *arguments]).folder


def evaluate(arguments):
    """Runs `keras-ssl evaluate` and returns its figures."""
    return cli.call(["evaluate", *arguments])


def parse(arguments):
    """The options of a command line of `keras-ssl pretrain`, or those of the run to resume."""
    words = ["pretrain", *registry.import_named(arguments)]
    _, bound, _ = cli.make_app().parse_args(words, exit_on_error=False, print_error=False)
    bound.apply_defaults()
    if bound.arguments["resume"] is None:
        return options.Options(**bound.arguments, began=None)
    return options.of_run(function, bound.arguments)
