"""What a run trains, on which images and devices: all but its encoder and its length."""

import dataclasses
import datetime
import functools
import pathlib
import re
import time
from typing import Any

import keras

from keras_ssl import data, distribution, encoders, recipes, runs
from keras_ssl._seeds import same_seeds
from keras_ssl.data.image_set import spread_places
from keras_ssl.data.sources.folder import check_outside
from keras_ssl.pretraining import budget, defaults
from keras_ssl.pretraining import options as options_
from keras_ssl.pretraining.options import Options, label, source_name

# Where runs are, if nothing else is said.
_RUNS = pathlib.Path("runs")
# Images that are decoded to learn how long all of them take.
_DECODED = 128


@dataclasses.dataclass(frozen=True)
class Setup:
    """What a run trains, on which images and devices.

    Attributes:
        options: The options of the run.
        strategy: The devices; see `keras_ssl.distribution.strategy`.
        folder: The run's folder.
        recipe: The method and its settings.
        is_small: Whether these are small settings of ours, whose epochs are free.
        method: The chosen method, or `None`.
        size: The chosen size of photos, or `None`.
        batch: The chosen images of a step, or `None`.
        images: Images to train on.
        judged: Images to judge the encoder by.
        policy: The augmentation.
    """

    options: Options
    strategy: Any
    folder: runs.RunFolder
    recipe: recipes.Recipe
    is_small: bool
    method: defaults.Choice | None
    size: defaults.Choice | None
    batch: defaults.Choice | None
    images: data.ImageSet
    judged: data.Splits
    policy: Any

    @property
    def is_new(self) -> bool:
        """Whether the run begins now, and does not go on."""
        return self.options.resume is None

    @property
    def writes(self) -> bool:
        """Whether this machine writes; of several, the first one does."""
        return distribution.is_chief(self.strategy)

    @property
    def replicas(self) -> int:
        """The number of devices that share a batch."""
        return self.strategy.num_replicas_in_sync

    @property
    def makes_views_on_device(self) -> bool:
        """Whether the model makes the views within its step."""
        return self.options.views == "device"

    @property
    def has_probe(self) -> bool:
        """Whether the online probe is trained."""
        return self.options.probe and self.judged.train.has_labels

    @property
    def chooses_epochs(self) -> bool:
        """Whether the number of epochs is the run's own choice."""
        is_free = self.options.epochs is None and not self.options.smoke
        return self.is_new and self.is_small and is_free

    @property
    def can_be_timed(self) -> bool:
        """Whether a few steps tell how long an epoch takes."""
        return self.chooses_epochs and self.replicas == 1

    @functools.cached_property
    def views(self) -> Any:
        """The batches to train on; see `keras_ssl.data.make_views` and `make_batches`."""
        return self._make_views()

    def _make_views(self) -> Any:
        probe_images = self.judged.train if self.options.evaluate_on and self.has_probe else None
        batch_size, seed = self.recipe.batch_size, self.options.seed
        if self.makes_views_on_device:
            return data.make_batches(self.images, batch_size, seed, probe_images)
        return data.make_views(self.images, self.policy, batch_size, seed, probe_images)

    def build_model(self, encoder: Any) -> keras.Model:
        """Builds the model around an encoder, which is given by its name or itself."""
        options, shape = self.options, self.images.image_shape
        view_shape = self.recipe.view_shape(shape)
        any_size = view_shape != (None, *shape)
        # The recipe may have its own.
        given = {
            name: getattr(options, name)
            for name in ("layer_decay", "micro_batch_size")
            if getattr(options, name) is not None
        }
        if self.makes_views_on_device:
            given["views"] = self.policy
        with self.strategy.scope():
            model = self.recipe.build_model(
                _build_encoder(encoder, shape, options, any_size),
                probe=len(self.judged.train.class_names or ()) if self.has_probe else None,
                **given,
            )
            model.build(view_shape)
        return model

    def measure(self, encoder: Any) -> budget.Speed:
        """Measures how fast a model around an encoder trains, and throws it away."""
        with same_seeds(), runs.stage("timing a few steps"):
            model, views = self.build_model(encoder), self._make_views()
            model.compile(self.recipe.build_optimizer(len(views)))
            return budget.measure(model, views)

    def time_to_decode(self) -> float:
        """Measures the seconds until all images are decoded that are then kept in memory."""
        missing = self.images.to_decode()
        some = missing[spread_places(len(missing), _DECODED)]
        if not len(some):
            return 0.0
        batches = iter(self.images.subset(some).raw_batches(-(-len(some) // 2)))
        first, _ = next(batches)  # It also begins the reading.
        begin = time.monotonic()
        timed = sum(len(pixels) for pixels, _ in batches)
        left = len(missing) - len(first) - timed
        return (time.monotonic() - begin) / max(timed, 1) * left


def prepare(options: Options) -> Setup:
    """Loads the images and makes the settings; checks all that can be wrong, and writes nothing.

    Raises:
        ValueError: for an option that is wrong.
    """
    options_.check(options)
    options_.take_from_config(options)
    # This comes first: several machines must find each other before TensorFlow does anything else.
    strategy = distribution.strategy(options.strategy)
    replicas, writes = strategy.num_replicas_in_sync, distribution.is_chief(strategy)
    keras.utils.set_random_seed(options.seed)
    keras.config.set_dtype_policy(options.precision)
    is_new = options.resume is None
    # These errors come before the images are loaded.
    if is_new:
        _check_folder(options, writes)
    chooses_method = options.config is None and options.method is None
    if not chooses_method:
        recipe, _ = options_.base_recipe(options)
        if is_new and options.optimizer is None:
            recipe.get_config()  # What has no name cannot be written to config.json.
    size = None
    if is_new and options.image_size is None and options_.is_plain(options.source):
        size = defaults.image_size(options.source)
    with runs.stage(f"loading {source_name(options)}"):
        scaling = None if is_new else options.began.get("scaling", ())
        pixels = size.value if size else options.image_size
        images, judged = options_.load_images(options, pixels, scaling)
    options_.check_views(options, images)
    method = None
    if chooses_method:
        method = defaults.method(images.image_shape, options_.may_be_tuned(options))
        options.method = method.value  # A run that goes on keeps it, wherever it goes on.
    folder = _name_folder(options) if is_new else runs.RunFolder(options.resume)
    _, is_small = options_.base_recipe(options)
    recipe = options_.make_recipe(options, images.image_shape)
    micro = options.micro_batch_size or recipe.arguments.get("micro_batch_size")
    batch, given = None, options.batch_size or micro or options.smoke
    if is_new and is_small and not given:
        batch = defaults.batch_size(recipe.batch_size, images.example_count)
        recipe = dataclasses.replace(recipe, batch_size=batch.value)
    if is_new and options.smoke and options.batch_size is None:
        most = min(recipe.batch_size, images.example_count)
        recipe = dataclasses.replace(recipe, batch_size=most)
    devices = getattr(strategy, "device_count", 1)  # of JAX
    options_.check_batches(recipe, replicas, micro, devices)
    setup = Setup(
        options,
        strategy,
        folder,
        recipe,
        is_small,
        method,
        size,
        batch,
        images,
        judged,
        recipe.build_policy(),
    )
    if options.budget is not None and not (setup.can_be_timed or options.smoke):
        raise ValueError(
            "`budget` needs one device, and a method with small settings, whose epochs are free. "
            f"Received: budget={options.budget!r} with {label(options)} on {replicas} replicas"
        )
    return setup


def _build_encoder(
    name: Any, image_shape: tuple[int, int, int], options: Options, any_size: bool
) -> keras.Model:
    """Loads or builds the encoder, and chooses what of it is trained."""
    encoder = encoders.load_encoder(
        name,
        image_shape,
        encoders.parse_range(options.input_range),
        options.weights,
        options.pooling,
        any_size,
    )
    if options.freeze is None and options.lora_rank is None:
        return encoder
    return encoders.prepare_training(
        encoder, options_.parse_freeze(options.freeze), options.lora_rank
    )


def _check_folder(options: Options, writes: bool) -> None:
    """Raises a `ValueError` if a new run cannot have its folder."""
    if options.out is None:
        if not writes:
            raise ValueError("`out` must be given, the same folder on all machines")
    elif writes:
        runs.RunFolder(options.out).check_new()
    for images in (options.source, options.evaluate_on):
        check_outside("out", options.out or _RUNS, images)


def _name_folder(options: Options) -> runs.RunFolder:
    """Returns the folder of a new run."""
    if options.out is not None:
        return runs.RunFolder(options.out)
    now = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    # Wildcards and braces of shards would trouble a shell.
    source = re.sub(r"[*?\[\]{},]+", "_", source_name(options).replace(":", "-"))
    source = pathlib.Path(source).resolve().stem
    name = label(options).replace(">", "-")  # A name registered with Keras has a ">".
    return runs.RunFolder(_RUNS / f"{now}-{name}-{source}")
