"""Builds a classifier on an encoder, and trains it on labeled images.

The recipe is plain: AdamW, a cosine decay after a short warm-up, mild crops and flips, and a number
of steps that does not fall with the number of labels. The head starts at the logistic regression on
the frozen features, so that the first steps do not pull a trained encoder toward a random head
(linear probing, then fine-tuning: Kumar et al., 2022).

References:
    - Kumar et al.: Fine-tuning can distort pretrained features and underperform
      out-of-distribution, ICLR 2022.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from keras_ssl._keras import all_layers, renew_normalization
from keras_ssl._tensorflow import is_installed, tf
from keras_ssl._validation import (
    check_choice,
    check_count,
    check_non_negative,
    check_optional_count,
    check_positive,
    check_seed,
)
from keras_ssl.callbacks import StopOnNonFinite
from keras_ssl.data import (
    Augmentation,
    Compose,
    Epochs,
    ImageSet,
    RandomFlip,
    RandomResizedCrop,
    without_tensorflow,
)
from keras_ssl.data.augmentation.base import check_augmentation
from keras_ssl.data.image_set import check_image_set
from keras_ssl.encoders import as_encoder, check_images, find_blocks, merged_encoder
from keras_ssl.evaluation import Features, extract
from keras_ssl.evaluation.features import for_backend
from keras_ssl.evaluation.linear_probe import fitted_probe

PARTS = {"head": 0.0, "last": 1 / 3, "all": 1.0}
"""Parts of the encoder that are trained besides the head, by name.

Each is the fraction of its layers that have weights, counted from the last. A third is the last
stage of the small ResNets, and four of the twelve blocks of a ViT.
"""

# Passes over the labeled images, but at least this many steps: 500 images alone would be over after
# a few.
_PASSES, _FEWEST_STEPS = 30, 600
# Part of the steps in which the learning rate rises.
_WARMUP = 0.1
# Passes over the images in a training: without end, but a range needs one.
_ENDLESS = 2**31


def check_part(name: str, value: Any) -> str:
    """Returns `value`, or raises if it is not the name of a part of the encoder."""
    return check_choice(name, value, PARTS)


def check_last(encoder: keras.Model, part: str) -> None:
    """Raises if the last third of an encoder's layers would be none of them."""
    if part == "last" and len(find_blocks(encoder).parts) == 1:
        raise ValueError(
            "`train` must be 'head' or 'all' for an encoder that has its weights in one layer. "
            f"Received: {part!r}"
        )


def check_labeled(name: str, value: Any) -> ImageSet:
    """Returns `value`, or raises unless it is an `ImageSet` with labels."""
    images = check_image_set(name, value)
    if not images.has_labels:
        raise ValueError(f"`{name}` must have labels. Received: images without labels")
    return images


def default_augmentation(flip: bool = True) -> Augmentation:
    """Makes mild crops, of at least half the area, and flips.

    Args:
        flip: Whether half of the images are mirrored; not where that makes another class of them,
            as of letters.
    """
    crop = RandomResizedCrop(scale=(0.5, 1.0))
    return Compose([crop, RandomFlip()]) if flip else crop


def step_count(images: int, batch_size: int) -> int:
    """Returns how many steps a training takes: 30 passes over the images, but at least 600."""
    return max(_FEWEST_STEPS, -(-_PASSES * images // batch_size))


def build_classifier(encoder: keras.Model, class_names: Any) -> keras.Model:
    """Builds a classifier with a copy of an encoder, whose own weights are not changed later.

    Args:
        encoder: See `keras_ssl.encoders.as_encoder`. It must know the shape of its images. The copy
            has its LoRA merged into its matrices.
        class_names: Names of the classes, two or more.

    Returns:
        A functional model from images in [0, 1] to class probabilities (N, classes). Its last two
        layers are the head, a `Dense` that starts at zero, and a `Softmax`.

    Raises:
        ValueError: for fewer than two classes, or an encoder that does not know its images.

    Example:
        The head starts at zero, so that all classes are equally likely.

        >>> encoder = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten()])
        >>> classifier = build_classifier(encoder, ["bird", "cat", "dog", "fish"])
        >>> classifier.predict_on_batch(np.ones((1, 8, 8, 1), "float32")).tolist()
        [[0.25, 0.25, 0.25, 0.25]]
    """
    names = list(class_names) if isinstance(class_names, (list, tuple)) else []
    if len(names) < 2:
        raise ValueError(
            f"`class_names` must be the names of two or more classes. Received: {class_names!r}"
        )
    encoder = merged_encoder(as_encoder(encoder))
    if not getattr(encoder, "inputs", None):
        raise ValueError(
            "`encoder` must know the shape of its images: call as_encoder with an image_shape. "
            f"Received: {encoder.name!r}"
        )
    copy = keras.models.clone_model(encoder)
    copy.set_weights(encoder.get_weights())
    renew_normalization(copy)
    head = keras.layers.Dense(len(names), kernel_initializer="zeros", name="head")
    probabilities = keras.layers.Softmax(name="probabilities")(head(copy.outputs[0]))
    return keras.Model(copy.inputs, probabilities, name="classifier")


def fit_classifier(
    classifier: keras.Model,
    images: ImageSet,
    train: str = "all",
    learning_rate: float = 3e-3,
    weight_decay: float = 0.05,
    batch_size: int = 64,
    steps: int | None = None,
    augmentation: Augmentation | None = None,
    probe_first: bool = True,
    seed: int = 0,
) -> None:
    """Trains a classifier, in place.

    Args:
        classifier: What `build_classifier` returns.
        images: Labeled images.
        train: What is trained besides the head: "head" (nothing), "last" (the last third of the
            layers that have weights) or "all". Batch normalization that is not trained keeps its
            statistics.
        learning_rate: Highest learning rate of AdamW. The default was better than 1e-3 for a
            pretrained ResNet-8 on validation images of CIFAR-10, with one subset of 10 % of the
            labels. Large encoders, ViTs above all, usually want less, such as 1e-4.
        weight_decay: Weight decay of AdamW, of kernels alone.
        batch_size: Images per step. With fewer images, a step takes each of them once.
        steps: Number of steps. Default: 30 passes over the images, but at least 600 steps.
        augmentation: What is done with the images; default: `default_augmentation()`.
        probe_first: Whether the head starts at the logistic regression on the frozen features,
            which are not augmented; else it goes on from where it is.
        seed: Seed of the orders and of the draws.

    Raises:
        TypeError: for images or an augmentation of another type.
        ValueError: for images without labels, a value out of its range, or `train="last"` of an
            encoder that has its weights in one layer.
        keras_ssl.callbacks.NonFiniteLossError: if the loss or a weight becomes infinite or NaN.

    Example:
        >>> from keras_ssl import data
        >>> encoder = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten()])
        >>> train, test = data.load("digits")
        >>> classifier = build_classifier(encoder, train.class_names)
        >>> fit_classifier(classifier, train, "head", steps=50)  # doctest: +SKIP
        >>> fit_classifier(classifier, train, "first", steps=50)
        Traceback (most recent call last):
            ...
        ValueError: `train` must be one of ['head', 'last', 'all']. Received: train='first'
    """
    check_labeled("images", images)
    fraction = PARTS[check_part("train", train)]
    rate = check_positive("learning_rate", learning_rate)
    decay = check_non_negative("weight_decay", weight_decay)
    batch_size = min(check_count("batch_size", batch_size), len(images))
    steps = check_optional_count("steps", steps) or step_count(len(images), batch_size)
    if augmentation is None:
        augmentation = default_augmentation()
    check_augmentation("augmentation", augmentation)
    seed = check_seed("seed", seed)

    *_, head, softmax = classifier.layers
    logits = keras.Model(classifier.inputs, softmax.input)
    body = keras.Model(classifier.inputs, head.input)
    check_images(body, (None, *images.image_shape))
    check_last(body, train)
    if probe_first:
        head.set_weights(_logistic_regression(extract(body, images), head.units))
    _train_last(body, fraction)
    warmup = round(_WARMUP * steps)
    schedule = keras.optimizers.schedules.CosineDecay(
        0.0 if warmup else rate,
        steps - warmup,
        warmup_target=rate if warmup else None,
        warmup_steps=warmup,
    )
    optimizer = keras.optimizers.AdamW(schedule, weight_decay=decay)
    # Biases, scales, class tokens and positions are no kernels, whatever their shapes are.
    others = [v for v in logits.trainable_variables if "kernel" not in v.name]
    optimizer.exclude_from_weight_decay(others)
    if any(layer.compute_dtype == "float16" for layer in all_layers(logits)):
        # Keras asks the model alone, whose own policy is the process's.
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    optimizer.build(logits.trainable_variables)  # TensorFlow traces twice what creates variables.
    logits.compile(
        optimizer,
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        # TensorFlow's XLA compiles for longer than many of these trainings take on a CPU. JAX would
        # not compile the step at all, and take a hundred times as long.
        jit_compile=False if keras.backend.backend() == "tensorflow" else "auto",
    )
    batches = _batches(images, augmentation, batch_size, steps, seed)
    try:
        logits.fit(batches, verbose=0, shuffle=False, callbacks=[StopOnNonFinite()])
    finally:
        _train_last(classifier, 1.0)


def accuracy(classifier: keras.Model, images: ImageSet, batch_size: int = 256) -> float:
    """Computes the fraction of the images whose most probable class is their label.

    Args:
        classifier: From images in [0, 1] to class probabilities.
        images: Labeled images.
        batch_size: Images per step.

    Raises:
        TypeError: if `images` is not an `ImageSet`.
        ValueError: if `images` has no labels, or a probability is not finite.

    Example:
        A new classifier has no preference, and answers the first class.

        >>> from keras_ssl import data
        >>> encoder = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten()])
        >>> images = data.from_arrays(np.zeros((4, 8, 8, 1), "uint8"), labels=[0, 0, 0, 1])
        >>> accuracy(build_classifier(encoder, images.class_names), images)
        0.75
    """
    right = count = 0
    for batch, labels in check_labeled("images", images).batches(batch_size):
        probabilities = classifier.predict_on_batch(for_backend(batch))
        if not np.isfinite(probabilities).all():  # Of NaN, the first would be the largest.
            raise ValueError(
                "`classifier` must give finite probabilities. Received: infinite ones or NaN"
            )
        predicted = np.argmax(probabilities, axis=1)
        right += int(np.sum(predicted == np.asarray(labels)))
        count += len(predicted)  # The size of a part of a stream is an estimate.
    return right / count


def _train_last(body: keras.Model, fraction: float) -> None:
    """Makes the last `fraction` of the layers with weights trainable, and no others."""
    parts = find_blocks(body).parts
    frozen = len(parts) - round(fraction * len(parts))
    for i, part in enumerate(parts):
        part.layer.trainable = i >= frozen


def _logistic_regression(features: Features, classes: int) -> list[np.ndarray]:
    """Returns kernel and bias of logistic regression, which sees standardized features.

    It is the linear probe of `keras_ssl.evaluation`, written as one layer on the features as they
    are. A class without images keeps a very low logit.
    """
    kernel, bias = np.zeros((features.values.shape[1], classes)), np.full(classes, -10.0)
    present = np.unique(features.labels)
    if len(present) < 2:
        bias[present] = 0
        return [kernel, bias]
    scaler, probe = fitted_probe(features)
    coefficients, intercepts = probe.coef_, probe.intercept_
    if len(present) == 2:  # scikit-learn keeps the logit of the second class alone.
        coefficients = np.concatenate([-coefficients / 2, coefficients / 2])
        intercepts = np.concatenate([-intercepts / 2, intercepts / 2])
    scaled = coefficients / scaler.scale_
    kernel[:, present] = scaled.T
    bias[present] = intercepts - scaled @ scaler.mean_
    return [kernel, bias]


def _batches(
    images: ImageSet, augmentation: Augmentation, batch_size: int, steps: int, seed: int
) -> Any:
    """Makes `steps` batches of augmented images and their labels, in a new order in each pass.

    A batch may begin in one pass and end in the next, so that no image is left out.
    """
    order = int(np.random.SeedSequence(seed).generate_state(1)[0])
    if not is_installed():
        examples = without_tensorflow.Shuffled(images, len(images), in_groups=False)

        def batch(epoch: int, step: int) -> Any:
            found, labels = examples.batch(order, step * batch_size, batch_size)
            return augmentation(found, training=True, seed=[seed, step]), labels

        return without_tensorflow.Batches(batch, range(steps), Epochs())

    def one_pass(number: Any) -> tf.data.Dataset:
        tf.compat.v1.get_default_graph().seed = None  # As in `keras_ssl.data.batches`.
        return images.shuffled_keys(order + number)

    def augment(step: Any, batch: Any) -> Any:
        views = augmentation(batch[0], training=True, seed=tf.stack([seed, step]))
        return views, batch[1]

    keys = tf.data.Dataset.range(_ENDLESS).flat_map(one_pass).take(steps * batch_size)
    batches = images.fetched(keys, batch_size, drop_remainder=True).enumerate()
    batches = batches.map(augment, num_parallel_calls=tf.data.AUTOTUNE)
    batches = batches.apply(tf.data.experimental.assert_cardinality(steps))
    return batches.prefetch(tf.data.AUTOTUNE)
