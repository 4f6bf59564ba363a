"""The criteria that a benchmark has no row for: it measures them with their defaults."""

import inspect

from keras_ssl import losses


def without_row(measured):
    """Returns the public criteria that are not in `measured`, by the name of the class.

    `VICRegFamilyLoss` is left out: by its defaults, it is `VICRegLoss`.
    """
    return {
        name: criterion
        for name in losses.__all__
        if inspect.isclass(criterion := getattr(losses, name))
        and issubclass(criterion, losses.Criterion)
        and criterion not in (losses.Criterion, losses.VICRegFamilyLoss, *measured)
    }


def has_side(criterion):
    """Whether a criterion can be computed on either of two matrices."""
    return "side" in inspect.signature(criterion).parameters
