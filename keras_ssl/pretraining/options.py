"""The options of a run: those of a new one, or those that a run's folder holds."""

import dataclasses
import inspect
import json
import pathlib
import re
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

import keras

from keras_ssl import _renames, data, models, recipes, registry, runs
from keras_ssl._files import read_json
from keras_ssl._tensorflow import check_installed
from keras_ssl._validation import (
    check_choice,
    check_count,
    check_non_negative,
    check_positive,
    check_seed,
)
from keras_ssl.pretraining import budget, defaults

# An option per argument of `keras_ssl.pretrain`, under its name.
Options = SimpleNamespace

SMOKE_EPOCHS = 2
# These say how to run and not what, and are not those of the run that goes on.
HOW_TO_RUN = ("resume", "quiet", "began")
# These change no figure of a run: runs are not compared by them.
_WITHOUT_EFFECT = ("checkpoint_minutes", "data_dir", "download", "graph", "out", "profile")


def given(function: Callable[..., Any], arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the arguments that differ from the defaults of a function."""
    parameters = inspect.signature(function).parameters
    return {
        name: value
        for name, value in arguments.items()
        if name not in HOW_TO_RUN
        and (value is not parameters[name].default and value != parameters[name].default)
    }


def of_run(function: Callable[..., Any], arguments: Mapping[str, Any]) -> Options:
    """Returns the options of the run to resume, with what it chose itself when it began.

    Args:
        function: `keras_ssl.pretrain`.
        arguments: Its arguments, which may only bring back objects of Python besides `resume`.

    Returns:
        Options whose `began` is the run's config.

    Raises:
        ValueError: if other arguments are given, or the folder has options that are not known.
    """
    folder = runs.RunFolder(arguments["resume"])
    config = folder.read_config()
    parameters = inspect.signature(function).parameters
    if unknown := sorted(set(config["options"]) - set(parameters) - {"imports"}):
        raise ValueError(
            f"`resume`: {folder / 'config.json'} has options that this version does not know: "
            f"{unknown}; it was written by {config.get('versions', {}).get('keras-ssl')}"
        )
    stored = {n: v for n, v in config["options"].items() if n in parameters}
    ours = given(function, arguments)
    objects = {name: value for name, value in ours.items() if not is_plain(value)}
    if others := sorted(set(ours) - set(objects)):
        raise ValueError(f"`resume` takes the options of the run; remove {', '.join(others)}")
    lost = [n for n, v in stored.items() if isinstance(v, dict) and "python" in v]
    if missing := sorted(set(lost) - set(objects)):
        raise ValueError(
            "`resume` needs what the run began with in Python, given again: "
            f"{', '.join(missing)}. Received: resume={str(arguments['resume'])!r} alone"
        )
    defaults = {name: parameter.default for name, parameter in parameters.items()}
    options = Options(**{**defaults, **stored, **objects})
    options.resume, options.quiet, options.began = arguments["resume"], arguments["quiet"], config
    options.budget = None  # It became a number of epochs.
    for name in ("epochs", "batch_size"):
        setattr(options, name, getattr(options, name) or config.get("recipe", {}).get(name))
    for name in ("encoder", "image_size", "evaluate_every"):
        setattr(options, name, getattr(options, name) or config.get(name))
    if options.config is not None:
        # The run's own file has the settings that it began with; the other may have changed since.
        options.config = str(folder / "config.json")
    return options


def is_plain(value: Any) -> bool:
    """Whether an option can be written to config.json."""
    if isinstance(value, (list, tuple)):
        return all(map(is_plain, value))
    return value is None or isinstance(value, (str, int, float, pathlib.PurePath))


def is_object(options: Options, name: str) -> bool:
    """Whether an option is an object of Python, which config.json does not hold."""
    return name not in HOW_TO_RUN and not is_plain(getattr(options, name))


def stored(options: Options) -> dict[str, Any]:
    """Returns the options as config.json holds them: objects of Python by what they are."""

    def plain(value: Any) -> Any:
        if isinstance(value, pathlib.PurePath):
            return str(value)
        if is_plain(value):
            return value
        return {"python": f"{type(value).__module__}.{type(value).__name__}"}

    return {
        **{n: plain(v) for n, v in vars(options).items() if n not in HOW_TO_RUN},
        "imports": list(registry.IMPORTED),
    }


def label(options: Options) -> str:
    """The name of the settings."""
    if options.config is not None:
        path = pathlib.Path(options.config)
        return path.stem if path.stem != "config" else path.parent.name
    if isinstance(options.method, recipes.Recipe):
        return options.method.model.__name__.lower()
    return str(options.method)


def source_name(options: Options) -> str:
    """The name of the images."""
    return str(options.source) if is_plain(options.source) else "images"


# --- Checks, before anything is loaded -----------------------------------------------------------


_COUNTS = (
    *("image_size", "view_size", "channels", "epochs", "batch_size", "micro_batch_size"),
    *("evaluate_every", "inspect_every", "examples", "lora_rank"),
)
_PRECISIONS = ("float32", "float64", "mixed_float16", "mixed_bfloat16")


def check(options: Options) -> None:
    """Raises a `ValueError` or `TypeError` for what can be known without the images."""
    for name in _COUNTS:
        if getattr(options, name) is not None:
            check_count(name, getattr(options, name))
    check_positive("checkpoint_minutes", options.checkpoint_minutes)
    for name in ("temperature", "base_learning_rate", "layer_decay"):
        if getattr(options, name) is not None:
            check_positive(name, getattr(options, name))
    if options.weight_decay is not None:
        check_non_negative("weight_decay", options.weight_decay)
    check_seed("seed", options.seed)
    check_choice("views", options.views, ("cpu", "device"))
    if options.profile:
        check_installed("`profile`")
    check_choice("precision", options.precision, _PRECISIONS)
    if options.profile and not all(x.strip().isdecimal() for x in options.profile.split(",")):
        raise ValueError(f'`profile` must be steps, such as "10,20". Received: {options.profile!r}')
    for name in ("image_size", "channels"):
        value = getattr(options, name)
        if value is not None and not is_plain(options.source) and options.resume is None:
            raise ValueError(
                f"`{name}` must be left out for images that are loaded. Received: {name}={value}"
            )
    if options.budget is not None:
        budget.seconds(options.budget)
    if options.budget is not None and options.epochs is not None:
        raise ValueError(
            "`budget` and `epochs` both say how long to train: give one of them. "
            f"Received: budget={options.budget!r}, epochs={options.epochs}"
        )


def check_views(options: Options, images: data.ImageSet) -> None:
    """Raises a `ValueError` if the device cannot make the views of these images."""
    if options.views == "device" and images.groups is not None:
        raise ValueError(
            '`views` must be "cpu" for images with groups, whose views are of two images. '
            "Received: views='device'"
        )


def check_batches(
    recipe: recipes.Recipe, replicas: int, micro_batch_size: int | None, devices: int = 1
) -> None:
    """Raises a `ValueError` for a batch that is too small or cannot be shared evenly."""
    if recipe.batch_size < 2:
        raise ValueError(
            "`batch_size` must be at least 2: a criterion compares the images of a batch. "
            f"Received: {recipe.batch_size}"
        )
    sharing = max(replicas, devices)
    if recipe.batch_size % sharing:
        raise ValueError(
            f"`batch_size` must be a multiple of the number of devices that share it, {sharing}. "
            f"Received: {recipe.batch_size}"
        )
    if micro_batch_size and recipe.batch_size // replicas % micro_batch_size:
        raise ValueError(
            "`micro_batch_size` must divide the images that one device gets of a batch, "
            f"{recipe.batch_size // replicas}. Received: {micro_batch_size}"
        )


# --- The recipe ----------------------------------------------------------------------------------


def read_config(options: Options) -> dict[str, Any]:
    """Reads the file of `config`: a recipe, and perhaps an encoder."""
    try:
        config = read_json(pathlib.Path(options.config), "Name another file.")
        recipe = recipes.Recipe.from_config(config["recipe"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(
            "`config` must be best/NAME.json of a study, or config.json of a run. Received: "
            f"{options.config!r}, {type(error).__name__}: {error}"
        ) from error
    if config.get("encoder") is None and options.encoder is None and "settings" in config:
        raise ValueError(
            "`encoder` must be given: the study of `config` made its encoders by its own function, "
            f"with {config['settings']}. Received: {options.config!r}"
        )
    options_of_run = config.get("options") if isinstance(config.get("options"), dict) else {}
    return {"recipe": recipe, "encoder": config.get("encoder"), "options": options_of_run}


# Options that make a model and are not part of a recipe.
_OF_ENCODER = ("weights", "input_range", "pooling", "freeze", "lora_rank")


def take_from_config(options: Options) -> None:
    """Takes from the file of `config`, if it is a run's, what made its model and is not given."""
    if options.config is None or options.resume is not None:
        return
    began = read_config(options)["options"]
    for name in (*(_OF_ENCODER if options.encoder is None else ()), "layer_decay"):
        value = began.get(name)
        if getattr(options, name) is None and is_plain(value):  # An object of Python is not there.
            setattr(options, name, value)


# What is tuned together is taken together: a run that is given one of these is not the tuned one.
_TUNED_TOGETHER = ("encoder", "policy", "projector", "temperature", "criterion")


def may_be_tuned(options: Options) -> bool:
    """Whether the options leave open all that tuned settings consist of."""
    return all(getattr(options, name) is None for name in _TUNED_TOGETHER)


def base_recipe(options: Options) -> tuple[recipes.Recipe, bool]:
    """Returns the recipe that the options start from, and whether it is a small one of ours."""
    small_ones = {**recipes.methods(), **recipes.TUNED}
    known = {**small_ones, **recipes.PUBLISHED}
    if options.config is not None:
        return read_config(options)["recipe"], False
    if isinstance(options.method, recipes.Recipe):
        return options.method, False
    if options.method not in known:
        own = keras.saving.get_custom_objects().get(options.method)
        if isinstance(own, type) and issubclass(own, models.JointEmbeddingModel):
            recipes.small(own)  # This says what it lacks.
        raise ValueError(
            f"`method` must be one of {list(known)}, or a method of your own that is registered "
            "with Keras, whose module --import names on the command line. "
            f"Received: {options.method!r}"
        )
    return known[options.method], options.method in small_ones


def make_recipe(options: Options, image_shape: tuple[int, int, int]) -> recipes.Recipe:
    """Returns the named recipe, changed by the options."""
    recipe, is_small = base_recipe(options)
    optimizer = options.optimizer
    if optimizer is not None:
        optimizer = registry.look_up("`optimizer`", optimizer, recipes.OPTIMIZERS)
    policy = choose_policy(options, recipe, is_small, image_shape)
    changes = {
        "policy": policy.value if policy else options.policy,
        "projector": options.projector,
        "view_size": options.view_size,
        "epochs": options.epochs,
        "batch_size": options.batch_size,
        "base_learning_rate": options.base_learning_rate,
        "weight_decay": options.weight_decay,
        "optimizer": optimizer,
    }
    if options.smoke:  # Options that were given stay as they are.
        small = {"epochs": SMOKE_EPOCHS, "batch_size": 64, "projector": "32-32"}
        changes.update({name: small[name] for name in small if changes[name] is None})
    changes["criterion"] = _criterion(options, recipe)
    return dataclasses.replace(
        recipe, **{name: value for name, value in changes.items() if value is not None}
    )


def choose_policy(
    options: Options, recipe: recipes.Recipe, is_small: bool, image_shape: tuple[int, int, int]
) -> defaults.Choice | None:
    """Chooses the augmentation of small settings of ours, or returns `None` if it is given."""
    is_tuned = options.method in list(recipes.TUNED)
    if options.policy is None and is_small and not is_tuned and recipe.policy in data.POLICIES:
        return defaults.policy(image_shape)
    return None  # A user's own policy, and a tuned one, stay as they are.


def _criterion(options: Options, recipe: recipes.Recipe) -> dict[str, Any]:
    """Returns the settings of the criterion, changed by the options."""
    settings = dict(recipe.criterion)
    arguments = list(inspect.signature(recipe.make_criterion).parameters)
    if options.temperature is not None:
        if "temperature" not in arguments:
            raise ValueError(
                f"`temperature` has no meaning for {label(options)}, whose criterion takes "
                f"{arguments}. Received: {options.temperature}"
            )
        if "temperature" in re.findall(r"(\w+)\s*=", options.criterion or ""):
            raise ValueError(
                "`temperature` and `criterion` both give a temperature: leave one out. Received: "
                f"temperature={options.temperature}, criterion={options.criterion!r}"
            )
        settings["temperature"] = options.temperature
    for setting in (options.criterion or "").split(",") if options.criterion else ():
        name, _, text = (part.strip() for part in setting.partition("="))
        try:
            value = json.loads(text)
        except json.JSONDecodeError:
            value = text  # a word
        # A run that goes on may have options that an earlier version wrote.
        named = _renames.arguments(recipe.make_criterion, {name: value})
        if not named.keys() <= set(arguments) or not text:
            raise ValueError(
                f"`criterion` takes NAME=VALUE with NAME of {arguments} for {label(options)}. "
                f"Received: {setting!r}"
            )
        settings.update(named)
    return settings


def parse_freeze(text: Any) -> int | float | list[str] | None:
    """Reads `freeze`: a number of blocks, a fraction of them, or names of layers."""
    if not isinstance(text, str):  # In Python it may be what it means.
        return text
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return [name.strip() for name in text.split(",")]


# --- Images --------------------------------------------------------------------------------------


def load_images(
    options: Options, image_size: int | None, scaling: Any = None
) -> tuple[data.ImageSet, data.Splits]:
    """Loads the images to train on, and those with labels to judge the encoder by.

    Args:
        options: The options of the run.
        image_size: Height and width of the images, in pixels.
        scaling: How measurements were scaled when the run began; see `keras_ssl.data.load`.
    """
    # Where others are judged, no part is held out. Earlier versions held one out, and used labels
    # of objects of Python whatever `labels` was.
    is_earlier = options.began is not None and "trains_on_all" not in options.began
    splits_own = options.evaluate_on is None or is_earlier
    labels = options.labels and splits_own

    def load(
        source: Any, image_size: int | None, channels: Any, scaling: Any, labels: bool
    ) -> data.Splits:
        if isinstance(source, (data.ImageSet, data.Splits)):
            splits = source if isinstance(source, data.Splits) else data.Splits(source, None)
            if not options.labels and source is options.source and not is_earlier:
                splits = data.Splits(splits.train.without_labels(), None)
            elif isinstance(source, data.ImageSet) and labels and source.has_labels:
                splits = data.split(source)
        else:
            splits = data.load(
                source,
                image_size=image_size,
                channels=channels,
                data_dir=options.data_dir,
                download=options.download,
                labels=labels,
                scaling=scaling,
                examples=options.examples if source == options.source else None,
            )
        if options.smoke:
            test = splits.test and splits.test.spread(256)
            splits = data.Splits(splits.train.spread(256), test)
        return splits

    own = load(options.source, image_size, options.channels, scaling, labels)
    if options.evaluate_on is None:
        return own.train, own
    height, width, channels = own.train.image_shape
    size = image_size or (height if height == width else None)
    channels = options.channels or channels
    judge = load(options.evaluate_on, size, channels, own.train.scaling, True)
    if judge.test is None:
        raise ValueError(
            f"`evaluate_on` must be labeled data. Received: {options.evaluate_on!r}, without labels"
        )
    if judge.train.image_shape != own.train.image_shape:
        raise ValueError(
            f"`evaluate_on` must have images of shape {own.train.image_shape}. "
            f"Received: {judge.train.image_shape}"
        )
    return own.train, judge


def hparams(options: Options, recipe: recipes.Recipe, replicas: int) -> dict[str, Any]:
    """Returns the options of the run for TensorBoard's HParams tab; the model adds its own."""
    chosen = {
        **{name: value for name, value in stored(options).items() if is_plain(value)},
        "policy": recipe.policy,
        "view_size": recipe.view_size,
        "projector": recipe.projector,
        "epochs": recipe.epochs,
        "batch_size": recipe.batch_size,
        "base_learning_rate": recipe.base_learning_rate,
        "weight_decay": recipe.weight_decay,
        "replicas": replicas,
    }
    if options.config is not None:
        chosen["method"] = label(options)
    return {
        name.replace("_", " "): value
        for name, value in chosen.items()
        if value is not None and name not in _WITHOUT_EFFECT
    }
