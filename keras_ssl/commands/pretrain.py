"""`keras-ssl pretrain`."""

import os
from typing import Literal

import keras

from keras_ssl import _log, callbacks, data, recipes
from keras_ssl.pretraining import Pretrained, options
from keras_ssl.pretraining.run import train


def pretrain(
    source: str | os.PathLike[str] | data.ImageSet | data.Splits = "digits",
    *,
    evaluate_on: str | os.PathLike[str] | data.Splits | None = None,
    image_size: int | None = None,
    channels: int | None = None,
    examples: int | None = None,
    labels: bool = True,
    data_dir: str | None = None,
    download: bool = False,
    policy: str | None = None,
    view_size: int | None = None,
    views: Literal["cpu", "device"] = "cpu",
    method: str | recipes.Recipe | None = None,
    config: str | None = None,
    encoder: str | os.PathLike[str] | keras.Model | None = None,
    weights: str | None = None,
    input_range: str | None = None,
    pooling: str | None = None,
    freeze: str | None = None,
    layer_decay: float | None = None,
    lora_rank: int | None = None,
    projector: str | None = None,
    temperature: float | None = None,
    criterion: str | None = None,
    epochs: int | None = None,
    budget: str | None = None,
    batch_size: int | None = None,
    micro_batch_size: int | None = None,
    base_learning_rate: float | None = None,
    weight_decay: float | None = None,
    optimizer: str | None = None,
    precision: str = "float32",
    strategy: str = "auto",
    probe: bool = True,
    evaluate_every: int | None = None,
    checkpoint_minutes: float = 15.0,
    inspect_every: int | None = None,
    stop_when_ill: bool = False,
    graph: bool = False,
    profile: str | None = None,
    seed: int = 0,
    out: str | os.PathLike[str] | None = None,
    resume: str | os.PathLike[str] | None = None,
    smoke: bool = False,
    quiet: bool = False,
) -> Pretrained:
    """Trains an encoder on images without labels, judges it, and leaves a run folder behind.

    It chooses what is not given, and says why. The figures stand beside those of raw pixels and of
    the same encoder untrained. Ctrl-C saves a checkpoint and prints how to go on exactly.

    Examples:
        keras-ssl pretrain photos/
        keras-ssl pretrain photos/ --budget 20min
        keras-ssl pretrain cifar10 --download --method simclr --epochs 100
        keras-ssl pretrain photos/ --method vicreg --criterion covariance_weight=4
        keras-ssl pretrain --import my_module --method "my_package>MyMethod"
        keras-ssl pretrain --resume runs/20260101-120000-vicreg-photos

    Args:
        source: "digits", a folder of images, an .npz file, shards ("photos-*.tfrecord",
            "photos-{000..099}.tar"), "hf://NAME", or a tensorflow-datasets name. In Python also an
            `ImageSet` or `Splits`.
        evaluate_on: Other data, with labels, to judge the encoder on; the same kinds as the source,
            of which then nothing is held out.
        image_size: Height and width of the images, in pixels. Default: for photos 64, or 128 with
            an accelerator; other images keep their size.
        channels: Channels of the images: 1 or 3, and for files also 4.
        examples: Images of an epoch, of shards and of what is read as it comes. Default: they are
            counted; for those of a bucket, it must be given.
        labels: Judge the encoder by labels if there are any. Without, all images are trained on,
            and sub-folders are not classes.
        data_dir: Folder where tensorflow-datasets keeps its data.
        download: Let tensorflow-datasets download; keep a data set of Hugging Face on this machine
            first.
        policy: Augmentation: one of `keras_ssl.data.POLICIES`, or a registered one of your own.
        view_size: Height and width of the views, in pixels; fewer pixels take less time. Default:
            the method's, or those of the images.
        views: Where views are made: cpu, ahead of the step, or device, within it, which feeds an
            accelerator images as they are; see docs/backends.md.
        method: A method with small settings (vicreg, simclr, barlow-twins, ...), published settings
            (vicreg-d8192, ...), tuned ones (color-32px), or a registered method of your own. In
            Python also a `Recipe`. Default: vicreg; for colors of 28 to 40 px, without an
            accelerator, color-32px, if encoder, policy, projector and criterion are open, too.
        config: Settings to start from, instead of a method: best/NAME.json of a study, or
            config.json of a run.
        encoder: A name of `keras_ssl.encoders.ENCODERS` or of keras.applications, a preset of
            KerasHub (keras_hub:NAME, hf://..., or its folder), a run, or a .keras file. In Python
            also a Keras model. Default: one that fits the images, the device and the budget.
        weights: Weights of an encoder by name: imagenet (keras.applications), or a file. Default:
            untrained.
        input_range: Range of images that a trained encoder wants, if it does not tell: "0,1",
            "0,255", caffe, torch or tf.
        pooling: What becomes of an encoder's tokens: class or mean. Default: what fits it.
        freeze: What of the encoder keeps its weights: a number of blocks ("2"), a fraction of them
            ("0.5"), or names of layers, separated by commas.
        layer_decay: Factor on the learning rate from each block of the encoder to the one before
            it, above 0 and up to 1; 0.75 is usual for pretrained ViTs.
        lora_rank: Train the encoder by LoRA of this rank, with all its own weights frozen.
        projector: Widths of the projector, such as "2048-2048-512".
        temperature: Temperature of the criterion, if it has one.
        criterion: Any settings of the criterion, such as "covariance_weight=4,variance_weight=10".
        epochs: Number of epochs. Default: what the number of images asks for; of published settings
            and of `config`, their own.
        budget: Time for the whole run, such as 90s, 10min or 2h, instead of epochs. Epochs,
            judgments and, if it is not given, the encoder are fitted to it. Not for published
            settings and `config`, and on one device alone.
        batch_size: Images per step, over all devices. Default: the method's, or fewer if an epoch
            would have fewer than four steps.
        micro_batch_size: Images at a time on one device, for batches larger than its memory.
        base_learning_rate: Learning rate at a batch of 256; it is scaled by batch / 256.
        weight_decay: Weight decay of the optimizer.
        optimizer: adamw, sgd, lars, another of `keras_ssl.recipes.OPTIMIZERS`, or a registered one
            of your own.
        precision: Dtype policy: float32, mixed_float16, mixed_bfloat16 or float64.
        strategy: Devices: auto, none, mirrored, multiworker or tpu; see docs/devices.md.
        probe: Also train the online linear probe, if there are labels.
        evaluate_every: Epochs between judgments of the encoder. Default: 10, or what fits the
            budget.
        checkpoint_minutes: Minutes between checkpoints within an epoch; each epoch ends with one.
        inspect_every: Epochs between looks at a fixed sample. Default: a few percent of the time.
        stop_when_ill: Stop at a collapse or a learning rate that blows up.
        graph: Write the model's graph for TensorBoard.
        profile: Steps to profile for TensorBoard, such as "10,20"; needs
            tensorboard-plugin-profile.
        seed: Seed of weights, orders and augmentations, from 0 to 2**31 - 1.
        out: Run folder. Default: runs/TIME-METHOD-SOURCE.
        resume: Run folder of an interrupted run, to go on with its own options.
        smoke: Shrink everything to seconds; there is no report then.
        quiet: Say nothing but warnings.

    Returns:
        `Pretrained(folder, encoder, results)`.

    Raises:
        ValueError: for an option that is wrong; nothing has been written then.
        NonFiniteLossError: if the loss or a weight becomes infinite or NaN.
        OSError: if a file cannot be written; the run can go on from its last checkpoint.
        KeyboardInterrupt: after Ctrl-C; the run can go on.
    """
    arguments = dict(locals())
    if method is not None and config is not None:
        raise ValueError(f"`config` already has a method: remove `method`. Received: {method!r}")
    with _log.shown(quiet), callbacks.StopSignals() as signals:
        if resume is None:
            return train(options.Options(**arguments, began=None), signals)
        return train(options.of_run(pretrain, arguments), signals)
