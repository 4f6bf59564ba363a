"""Recipes by name: published settings, and small ones that work without an accelerator.

A recipe is a frozen dataclass: read it, change it with `dataclasses.replace`, build from it.

>>> recipe = PUBLISHED["vicreg-d8192"]
>>> recipe.base_learning_rate, dict(recipe.criterion)["covariance_weight"]
(0.3, 0.5)

The papers do not print everything. The duality paper gives neither LARS's trust coefficient, nor
the variables that LARS excludes, nor the last learning rate. Here they are those of its authors'
VICReg code: 0.001, one-dimensional variables, and 0.001 of the peak. The paper does not give the
grids of its sweeps either.

All recipes differ from the published codes in these points. Except in SimSiam and MoCo v3, the last
layer of the projector is bare (SimCLR, SCL and lightly's DCL normalize it, and TCR's and EMP-SSL's
have a bias). Each view is a batch of its own for batch normalization (EMP-SSL's patches are one).
The learning rate warms up and decays step by step, and the cosine begins where the warm-up ends
(TCR and lightly change the rate once an epoch, and TCR's cosine includes the warm-up). Images are
in [0, 1], not standardized. Initial weights are Keras'.

`translate` turns the settings of a loss of lightly, solo-learn or the authors' codes into one of
our criteria; see `keras_ssl.conventions`.
"""

from keras_ssl.conventions import Translated, translate
from keras_ssl.recipes.optimizers import (
    OPTIMIZERS,
    adamw,
    lars,
    lars_barlow_twins,
    lars_emp_ssl,
    lars_simclr,
    lars_solo,
    lars_tcr,
    sgd,
)
from keras_ssl.recipes.published import PUBLISHED
from keras_ssl.recipes.recipe import Recipe
from keras_ssl.recipes.small import SMALL, methods, small
from keras_ssl.recipes.tuned import TUNED

__all__ = [
    "OPTIMIZERS",
    "PUBLISHED",
    "Recipe",
    "SMALL",
    "TUNED",
    "Translated",
    "adamw",
    "lars",
    "lars_barlow_twins",
    "lars_emp_ssl",
    "lars_simclr",
    "lars_solo",
    "lars_tcr",
    "methods",
    "sgd",
    "small",
    "translate",
]
