"""Pretrains an encoder on images without labels, judges it, and leaves a run folder behind.

    python examples/pretrain.py                # digits, VICReg: `make pretrain`
    python examples/pretrain.py --method simclr --data path/to/images --epochs 100
    python examples/pretrain.py --method barlow-twins --data cifar10 --download
    python examples/pretrain.py --method vicreg --criterion covariance_weight=4 --epochs 100
    python examples/pretrain.py --strategy mirrored --batch-size 1024 --data path/to/images
    python examples/pretrain.py --config runs/tuning_gap-digits/best/simclr.json --epochs 100
    python examples/pretrain.py --import my_module --method "my_package>MyMethod"
    python examples/pretrain.py --resume runs/20260101-120000-vicreg-digits

Hardware and time: the default runs on two CPU cores in about a minute. Expected result: both
accuracies of the trained encoder are well above those of the untrained one. Raw pixels are good
too, because digits of 8x8 pixels are easy.

The run folder holds config.json (options, versions, command), encoder.keras (plain Keras, for any
program), checkpoints/ (the whole model, to go on from), tensorboard/, metrics.csv, results.json,
views.png and curves.png.
"""

import argparse
import dataclasses
import datetime
import inspect
import json
import os
import pathlib
import shlex
import sys
import warnings
from collections.abc import Callable
from typing import Any

import quiet

with quiet.quiet_start():
    import keras
    import tensorflow as tf

    from keras_ssl import (
        _renames,
        callbacks,
        data,
        distribution,
        encoders,
        evaluation,
        recipes,
        registry,
        runs,
    )
    from keras_ssl.runs.folder import BASELINES, RESULTS
    from keras_ssl.training.strategies import describe

    tf.config.list_physical_devices()

SMOKE_EPOCHS = 2
# A run keeps its last checkpoint, and the one before in case the disk damages the last.
KEPT_CHECKPOINTS = 2


def option(default: Any, group: str, text: str | Callable[[], str], **kwargs: Any) -> Any:
    """Returns a field of `Options` with its group and text in `--help`.

    A function as `text` is called when the parser is made.
    """
    return dataclasses.field(default=default, metadata={"group": group, "help": text, **kwargs})


@dataclasses.dataclass(frozen=True)
class Options:
    """The options of the command line.

    `None` stands for the recipe's value, or for what fits the images.
    """

    source: str = option(
        "digits",
        "data",
        '"digits", a folder of images, an .npz file, or a tensorflow-datasets name',
        flags=("--data",),
    )
    evaluate_on: str | None = option(
        None, "data", "other data, with labels, to judge the encoder on; the same kinds as --data"
    )
    image_size: int | None = option(None, "data", "height and width of the images, in pixels")
    channels: int | None = option(
        None, "data", "channels of the images: 1 or 3, and for files also 4"
    )
    labels: bool = option(
        True,
        "data",
        "judge the encoder by labels if there are any; --no-labels trains on all images, and does "
        "not take sub-folders for classes",
    )
    data_dir: str | None = option(None, "data", "where tensorflow-datasets keeps its data")
    download: bool = option(False, "data", "let tensorflow-datasets download")
    policy: str | None = option(
        None, "data", f"augmentation: {', '.join(data.POLICIES)}, or a registered one of your own"
    )
    recipe: str = option(
        "vicreg",
        "model",
        # A function, because the modules of --import must register their methods first.
        lambda: (
            f"a method, with small settings: {', '.join(recipes.methods())}; or published "
            f"settings: {', '.join(recipes.PUBLISHED)}"
        ),
        flags=("--method", "--recipe"),
    )
    config: str | None = option(
        None,
        "model",
        "settings to start from, instead of --method: best/NAME.json of a study (tuning/), or "
        "config.json of a run",
    )
    encoder: str | None = option(
        None, "model", f"{', '.join(encoders.ENCODERS)}, or a name of keras.applications"
    )
    projector: str | None = option(None, "model", 'widths, such as "2048-2048-512"')
    temperature: float | None = option(
        None, "criterion", "temperature of the criterion, if it has one"
    )
    criterion: str | None = option(
        None,
        "criterion",
        'any settings of the criterion, such as "covariance_weight=4,variance_weight=10"',
    )
    epochs: int | None = option(None, "optimizer", "number of epochs")
    batch_size: int | None = option(None, "optimizer", "images per step, over all devices")
    micro_batch_size: int | None = option(
        None, "optimizer", "images at a time on one device, for batches larger than its memory"
    )
    base_lr: float | None = option(
        None, "optimizer", "learning rate at a batch of 256; scaled by batch / 256"
    )
    weight_decay: float | None = option(None, "optimizer", "weight decay")
    optimizer: str | None = option(
        None, "optimizer", f"{', '.join(recipes.OPTIMIZERS)}, or a registered one of your own"
    )
    precision: str = option(
        "float32", "run", "dtype policy: float32, mixed_float16 or mixed_bfloat16"
    )
    strategy: str = option(
        "auto",
        "run",
        f"devices: {', '.join(distribution.STRATEGIES)}; see docs/devices.md",
    )
    probe: bool = option(True, "run", "also train the online linear probe, if there are labels")
    evaluate_every: int = option(10, "run", "epochs between judgments of the encoder")
    checkpoint_minutes: float = option(
        15.0, "run", "minutes between checkpoints within an epoch; each epoch ends with one"
    )
    inspect_every: int | None = option(
        None,
        "run",
        "epochs between looks at a fixed sample (default: so that they cost under 3 %%)",
    )
    stop_when_ill: bool = option(
        False, "run", "stop at a collapse or a learning rate that blows up"
    )
    graph: bool = option(False, "run", "write the model's graph for TensorBoard")
    profile: str | None = option(
        None,
        "run",
        'steps to profile for TensorBoard, such as "10,20"; needs tensorboard-plugin-profile',
    )
    seed: int = option(0, "run", "seed of weights, orders and augmentations")
    logdir: str | None = option(None, "run", "run folder; default: runs/TIME-METHOD-DATA")
    smoke: bool = option(False, "run", "shrink everything to seconds")
    # Recorded for people to read: --resume, too, imports only what the command line names.
    imports: list[str] = dataclasses.field(default_factory=list)

    @property
    def label(self) -> str:
        """The name of the settings."""
        if self.config is None:
            return self.recipe
        path = pathlib.Path(self.config)
        return path.stem if path.stem != "config" else path.parent.name


def parse(arguments: list[str] | None = None) -> tuple[Options, runs.RunFolder | None]:
    """Returns the options of the command line, or those of the run to resume and its folder."""
    registry.import_named(arguments)
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    groups: dict[str, Any] = {}
    for field in dataclasses.fields(Options):
        if field.name == "imports":
            continue
        settings = dict(field.metadata)
        group = settings.pop("group")
        if group not in groups:
            groups[group] = parser.add_argument_group(group)
        flags = settings.pop("flags", (f"--{field.name.replace('_', '-')}",))
        kinds = {"int": int, "float": float}
        if field.type is bool or isinstance(field.default, bool):
            settings["action"] = argparse.BooleanOptionalAction
        else:
            settings["type"] = next((k for n, k in kinds.items() if n in str(field.type)), str)
        default = field.default
        text = settings.pop("help")
        text = text if isinstance(text, str) else text()
        text += "" if default in (None, False) else f" (default: {default})"
        # SUPPRESS tells an option that was given from one that was not: --resume takes no others.
        groups[group].add_argument(
            *flags, dest=field.name, default=argparse.SUPPRESS, help=text, **settings
        )
    registry.add_import_option(groups["model"], default=argparse.SUPPRESS)
    groups["run"].add_argument(
        "--resume", metavar="RUN", help="go on with an interrupted run, with the run's own options"
    )
    given = vars(parser.parse_args(arguments))
    resume = given.pop("resume")
    if {"config", "recipe"} <= set(given):
        parser.error("--config already has a method: remove --method")
    if resume is None:
        return Options(**given), None
    given.pop("imports", None)
    if given:
        parser.error(f"--resume takes the options of the run; remove {', '.join(given)}")
    folder = runs.RunFolder(resume)
    known = {field.name for field in dataclasses.fields(Options)}
    config = folder.read_config()
    if unknown := sorted(set(config["options"]) - known):
        raise ValueError(
            f"--resume: {folder / 'config.json'} has options that this version does not know: "
            f"{unknown}; it was written by {config.get('versions', {}).get('keras-ssl')}"
        )
    options = Options(**config["options"])
    if options.config is not None:
        # The run's own file has the settings that it began with; the other may have changed since.
        options = dataclasses.replace(options, config=str(folder / "config.json"))
    return options, folder


def read_config(options: Options) -> dict[str, Any]:
    """Reads the file of --config: a recipe, and perhaps an encoder."""
    try:
        config = json.loads(pathlib.Path(options.config).read_text())
        recipe = recipes.Recipe.from_config(config["recipe"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(
            "--config must be best/NAME.json of a study, or config.json of a run. Received: "
            f"{options.config!r}, {type(error).__name__}: {error}"
        ) from error
    if config.get("encoder") is None and options.encoder is None and "settings" in config:
        raise ValueError(
            "--encoder must be given: the study of --config made its encoders by its own function, "
            f"with {config['settings']}. Received: {options.config!r}"
        )
    return {"recipe": recipe, "encoder": config.get("encoder")}


def make_recipe(options: Options, image_shape: tuple[int, int, int]) -> recipes.Recipe:
    """Returns the named recipe, changed by the options."""
    small_ones = recipes.methods()
    known = {**small_ones, **recipes.PUBLISHED}
    if options.config is not None:
        recipe = read_config(options)["recipe"]
    elif options.recipe in known:
        recipe = known[options.recipe]
    else:
        raise ValueError(
            f"--method must be one of {list(known)}, or a method of your own, whose module "
            f"--import names. Received: {options.recipe!r}"
        )
    optimizer = options.optimizer
    if optimizer is not None:
        optimizer = registry.look_up("--optimizer", optimizer, recipes.OPTIMIZERS)
    policy = options.policy
    is_small = options.config is None and options.recipe in small_ones
    if policy is None and is_small and recipe.policy in data.POLICIES:
        policy = data.policy_for(image_shape)  # The user's own policy stays as it is.
    changes = {
        "policy": policy,
        "projector": options.projector,
        "epochs": options.epochs,
        "batch_size": options.batch_size,
        "base_learning_rate": options.base_lr,
        "weight_decay": options.weight_decay,
        "optimizer": optimizer,
    }
    if options.smoke:  # Options that were given stay as they are.
        small = {"epochs": SMOKE_EPOCHS, "batch_size": 64, "projector": "32-32"}
        changes.update({name: small[name] for name in small if changes[name] is None})
    settings = dict(recipe.criterion)
    arguments = list(inspect.signature(recipe.make_criterion).parameters)
    if options.temperature is not None:
        if "temperature" not in arguments:
            raise ValueError(
                f"--temperature has no meaning for {options.label}, whose criterion takes "
                f"{arguments}. Received: {options.temperature}"
            )
        settings["temperature"] = options.temperature
    for setting in (options.criterion or "").split(",") if options.criterion else ():
        name, _, text = (part.strip() for part in setting.partition("="))
        try:
            value = json.loads(text)
        except json.JSONDecodeError:
            value = text  # a word
        # --resume may read options that an earlier version wrote.
        named = _renames.arguments(recipe.make_criterion, {name: value})
        if not named.keys() <= set(arguments) or not text:
            raise ValueError(
                f"--criterion takes NAME=VALUE with NAME of {arguments} for {options.label}. "
                f"Received: {setting!r}"
            )
        settings.update(named)
    changes["criterion"] = settings
    return dataclasses.replace(
        recipe, **{name: value for name, value in changes.items() if value is not None}
    )


def load_images(options: Options) -> tuple[data.ImageSet, data.Splits]:
    """Loads the images to train on, and those with labels to judge the encoder by."""

    def load(source: str, image_size: int | None, channels: int | None) -> data.Splits:
        splits = data.load(
            source,
            image_size=image_size,
            channels=channels,
            data_dir=options.data_dir,
            download=options.download,
            labels=options.labels or source != options.source,
        )
        if options.smoke:
            splits = data.Splits(*(part and part.spread(256) for part in splits))
        return splits

    own = load(options.source, options.image_size, options.channels)
    if options.evaluate_on is None:
        return own.train, own
    height, _, channels = own.train.image_shape
    judge = load(options.evaluate_on, options.image_size or height, options.channels or channels)
    if judge.test is None:
        raise ValueError(
            f"--evaluate-on must be labeled data. Received: {options.evaluate_on!r}, without labels"
        )
    if judge.train.image_shape != own.train.image_shape:
        raise ValueError(
            f"--evaluate-on must have images of shape {own.train.image_shape}. "
            f"Received: {judge.train.image_shape}"
        )
    return own.train, judge


def name_folder(options: Options, writes: bool) -> runs.RunFolder:
    """Returns the folder of a new run."""
    if options.logdir is not None:
        return runs.RunFolder(options.logdir)
    if not writes:
        raise ValueError("--logdir must be given, the same folder on all machines")
    time = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    source = pathlib.Path(options.source.replace(":", "-")).resolve().stem
    label = options.label.replace(">", "-")  # A name registered with Keras has a ">".
    return runs.RunFolder(pathlib.Path("runs") / f"{time}-{label}-{source}")


def describe_run(
    options: Options, recipe: recipes.Recipe, encoder: str, replicas: int, prints: dict[str, str]
) -> dict[str, Any]:
    """Returns what config.json holds: all that is needed to know this run and to repeat it."""
    return {
        "command": [sys.executable, *sys.argv],
        "options": dataclasses.asdict(options),
        "recipe": recipe.get_config(),
        "encoder": encoder,
        "data": prints,
        **runs.versions(),
        "replicas": replicas,
        "started": datetime.datetime.now().isoformat(timespec="seconds"),
    }


def check_data(prints: dict[str, str], config: dict[str, Any]) -> None:
    """Raises a `ValueError` if the images are not those that a run began with."""
    for part, before in config.get("data", {}).items():
        if prints.get(part) != before:
            raise ValueError(
                "--resume must be given the images that the run began with: its "
                f"{part} images were {before}. Received: {prints.get(part)}"
            )


def hparams(options: Options, recipe: recipes.Recipe, replicas: int) -> dict[str, Any]:
    """Returns all options of the run for TensorBoard's HParams tab; the model adds its own."""
    chosen = {
        **{name: value for name, value in dataclasses.asdict(options).items() if value is not None},
        "policy": recipe.policy,
        "projector": recipe.projector,
        "epochs": recipe.epochs,
        "batch_size": recipe.batch_size,
        "base_learning_rate": recipe.base_learning_rate,
        "weight_decay": recipe.weight_decay,
        "replicas": replicas,
    }
    if options.config is not None:
        chosen["recipe"] = options.label
    for name in ("logdir", "imports"):  # These differ between runs that are otherwise the same.
        chosen.pop(name, None)
    return {name.replace("_", " "): value for name, value in chosen.items()}


def check_profile(steps: str | None) -> None:
    """Raises a `ValueError` if `steps` does not name steps to profile."""
    if steps and not all(part.strip().isdecimal() for part in steps.split(",")):
        raise ValueError(f'--profile must be steps, such as "10,20". Received: {steps!r}')


def check_run(options: Options) -> None:
    """Raises a `ValueError` for an unknown precision or a seed out of range."""
    precisions = ("float32", "float64", "mixed_float16", "mixed_bfloat16")
    if options.precision not in precisions:
        raise ValueError(
            f"--precision must be one of {list(precisions)}. Received: {options.precision!r}"
        )
    if not 0 <= options.seed < 2**31:
        raise ValueError(f"--seed must be from 0 to 2**31 - 1. Received: {options.seed}")


def check_batches(recipe: recipes.Recipe, replicas: int, micro_batch_size: int | None) -> None:
    """Raises a `ValueError` for a batch that is too small or cannot be shared evenly."""
    if recipe.batch_size < 2:
        raise ValueError(
            "--batch-size must be at least 2: a criterion compares the images of a batch. "
            f"Received: {recipe.batch_size}"
        )
    if recipe.batch_size % replicas:
        raise ValueError(
            f"--batch-size must be a multiple of the number of replicas, {replicas}. "
            f"Received: {recipe.batch_size}"
        )
    if micro_batch_size and recipe.batch_size // replicas % micro_batch_size:
        raise ValueError(
            "--micro-batch-size must divide the images that one device gets of a batch, "
            f"{recipe.batch_size // replicas}. Received: {micro_batch_size}"
        )


def header(options: Options, recipe: recipes.Recipe, model: Any, parts: dict[str, Any]) -> str:
    """Describes the run that is about to start: images, encoder, training, devices and folder."""
    images, judged = parts["images"], parts["judged"]
    skipped = f", {len(images.skipped)} files skipped" if images.skipped else ""
    lines = {
        "images": f"{options.source}: {len(images)} of {images.image_shape}, "
        f"policy {recipe.policy}{skipped}",
        "judging": "effective rank alone, because there are no labels"
        if judged.test is None
        else f"{options.evaluate_on or options.source}: {describe_classes(judged.train)}; "
        f"{len(judged.test)} images held out"
        + ("" if options.evaluate_on else " (--no-labels trains on all)"),
        "encoder": f"{parts['encoder']}, {model.encoder.count_params():,} parameters; projector "
        f"{recipe.projector}; images in {encoders.describe_range(model.encoder)}",
        "training": f"{recipe.epochs} epochs of {parts['steps']} steps of {recipe.batch_size} "
        f"images, {recipe.optimizer.__name__}, base learning rate "
        f"{recipe.base_learning_rate:g}, {options.precision}",
        "devices": describe(model.distribute_strategy),
        "run": f"{parts['folder'].path}{parts['going_on']}",
    }
    body = "\n".join(f"  {name:<10} {text}" for name, text in lines.items())
    return f"{options.label} ({recipe.source})\n{body}"


def describe_classes(images: data.ImageSet) -> str:
    """Says how many classes there are, and the first of their names."""
    names = [str(name) for name in images.class_names or ()]
    return f"{len(names)} classes ({', '.join(names[:4])}{', ...' if len(names) > 4 else ''})"


def judge_baselines(folder: runs.RunFolder, encoder: Any, judged: data.Splits, policy: Any) -> Any:
    """Judges raw pixels and the untrained encoder; a resumed run reads its earlier figures."""
    if (baselines := folder.read_json(BASELINES)) is not None:
        return baselines
    # A resumed run has the same seed, and therefore the same untrained encoder.
    with runs.stage("judging raw pixels"):
        pixels = evaluation.raw_pixels(judged.train.image_shape)
        baselines = {"raw pixels": evaluation.judge(pixels, judged.train, judged.test)}
    with runs.stage("judging the untrained encoder"):
        baselines["untrained"] = evaluation.judge(encoder, judged.train, judged.test, policy=policy)
    folder.write_json(BASELINES, baselines)
    return baselines


def main(arguments: list[str] | None = None) -> pathlib.Path:
    """Runs the script and returns the run's folder."""
    with callbacks.StopSignals() as signals:
        return run(*parse(arguments), signals)


def run(
    options: Options, folder: runs.RunFolder | None, signals: callbacks.StopSignals
) -> pathlib.Path:
    """Trains by the options; goes on with the run in `folder` if there is one."""
    check_run(options)
    is_new = folder is None
    # This comes first: several machines must find each other before TensorFlow does anything else.
    strategy = distribution.strategy(options.strategy)
    replicas, writes = strategy.num_replicas_in_sync, distribution.is_chief(strategy)
    keras.utils.set_random_seed(options.seed)
    keras.config.set_dtype_policy(options.precision)
    if folder is None:
        folder = name_folder(options, writes)
        if writes:
            folder.check_new()

    with runs.stage(f"loading {options.source}"):
        images, judged = load_images(options)
    # Everything that can be wrong is checked before anything is written.
    recipe = make_recipe(options, images.image_shape)
    check_batches(recipe, replicas, options.micro_batch_size)
    check_profile(options.profile)
    policy = recipe.build_policy()
    has_probe = options.probe and judged.train.has_labels
    probe_images = judged.train if options.evaluate_on and has_probe else None
    views = data.make_views(images, policy, recipe.batch_size, options.seed, probe_images)
    encoder_name = options.encoder
    if encoder_name is None and options.config is not None:
        encoder_name = read_config(options)["encoder"]
    encoder_name = encoder_name or ("resnet8" if images.image_shape[0] <= 32 else "resnet18")
    with strategy.scope():
        encoder = encoders.build_encoder(encoder_name, images.image_shape)
        model = recipe.build_model(
            encoder,
            probe=len(judged.train.class_names or ()) if has_probe else None,
            micro_batch_size=options.micro_batch_size,
        )
        model.build((None, *images.image_shape))
        optimizer = recipe.build_optimizer(len(views))
    evaluate = callbacks.EvaluationCallback(
        judged.train, judged.test, every=options.evaluate_every, policy=policy
    )
    # Every machine looks, because all must stop together; only the first one writes.
    inspector = callbacks.EmbeddingInspector(
        images,
        policy,
        folder / "tensorboard" if writes else None,
        every=options.inspect_every,
        hparams=hparams(options, recipe, replicas),
        write_graph=options.graph,
        seed=options.seed,
    )
    doctor = callbacks.CollapseDoctor(
        inspector, stop=options.stop_when_ill, checkpoint=folder / "checkpoints" / "healthy.keras"
    )
    saved = callbacks.EpochCheckpoint(
        folder.checkpoints, KEPT_CHECKPOINTS, options.checkpoint_minutes, signals
    )
    prints = {
        name: data.fingerprint(part)
        for name, part in {
            "training": images,
            "judging (train)": judged.train,
            "judging (test)": judged.test,
        }.items()
    }
    checkpoint = None
    if is_new:
        if writes:
            folder.begin(describe_run(options, recipe, encoder_name, replicas, prints))
            data.view_grid(images, policy, folder / "views.png", seed=options.seed)
    else:
        config = folder.read_config()
        check_data(prints, config)
        if writes:
            folder.go_on(config)
        checkpoint = callbacks.latest_checkpoint(folder.checkpoints)
    begin = callbacks.position(checkpoint) if checkpoint else callbacks.Position(0, 0)
    after = f"{begin.epoch} epochs" + (f" and {begin.step} steps" if begin.step else "")
    parts = {
        "images": images,
        "judged": judged,
        "encoder": encoder_name,
        "steps": len(views),
        "folder": folder,
        "going_on": "" if is_new else f", going on after {after}",
    }
    print(header(options, recipe, model, parts), flush=True)

    progress = runs.Progress()
    try:
        baselines = judge_baselines(folder, encoder, judged, policy) if writes else {}
        with strategy.scope():
            if checkpoint is None:
                model.compile(optimizer)
            else:
                model = keras.models.load_model(checkpoint)
        log = runs.MetricsLog(folder / "metrics.csv", begin.epoch) if writes else None
        try:
            model.fit(
                views,
                epochs=recipe.epochs,
                initial_epoch=begin.epoch,
                initial_step=begin.step,
                verbose=progress.verbose,
                callbacks=[
                    progress,
                    callbacks.StopOnNonFinite(),  # before any callback looks at broken weights
                    evaluate,
                    inspector,
                    doctor,
                    *([log] if log else []),
                    *profilers(options, folder, writes),
                    # The last one: everything that it saves is already logged.
                    saved,
                ],
            )
        finally:
            # Keras calls these only if training ends normally.
            for callback in (progress, inspector, doctor, saved):
                callback.on_train_end()
        if writes:
            finish(folder, model, recipe.epochs, evaluate, baselines)
    except callbacks.NonFiniteLossError as error:
        kept = callbacks.checkpoints(folder.checkpoints)
        where = f"The last good checkpoint is {kept[-1]}" if kept else "No epoch was finished"
        raise SystemExit(f"{error}\n{where}") from None
    except distribution.WorkerLostError as error:
        # End at once: a normal end of the program would wait for the machine that is lost.
        print(f"error: {error}\nGo on with --resume {folder.path}", file=sys.stderr, flush=True)
        os._exit(1)
    except OSError as error:
        raise SystemExit(
            f"error: {type(error).__name__}: {error}\n"
            "Make room or repair the disk, then go on from the last checkpoint: "
            f"{resume_command(folder, options)}"
        ) from error
    except KeyboardInterrupt:
        kept = callbacks.checkpoints(folder.checkpoints)
        if kept and writes:
            folder.save_encoder(keras.models.load_model(kept[-1], compile=False).encoder)
            print(f"\nStopped. The encoder so far is {folder / 'encoder.keras'}", file=sys.stderr)
        else:
            print("\nStopped before anything was learned.", file=sys.stderr)
        print(
            f"Go on exactly from there: {resume_command(folder, options)}",
            file=sys.stderr,
            flush=True,
        )
        raise
    finally:
        folder.close()
    return folder.path


def profilers(options: Options, folder: runs.RunFolder, writes: bool) -> list[Any]:
    """Returns Keras' own profiler in a list, or an empty list without `--profile`."""
    if not (writes and options.profile):
        return []
    return [
        keras.callbacks.TensorBoard(
            folder / "profile", write_graph=False, profile_batch=options.profile
        )
    ]


def resume_command(folder: runs.RunFolder, options: Options) -> str:
    """Returns the command that goes on with a run."""
    imports = [word for name in options.imports for word in ("--import", name)]
    command = ["python", sys.argv[0], "--resume", str(folder.path), *imports]
    return shlex.join(command)


def finish(
    folder: runs.RunFolder,
    model: Any,
    epochs: int,
    evaluate: callbacks.EvaluationCallback,
    baselines: dict[str, Any],
) -> None:
    """Writes the encoder, its figures and a picture of the curves."""
    folder.save_encoder(model.encoder)
    trained = evaluate.latest
    if trained is None or evaluate.latest_epoch != epochs:  # stopped early, or already complete
        with runs.stage("judging the trained encoder"):
            trained = evaluation.judge(
                model.encoder, evaluate.train, evaluate.test, policy=evaluate.policy
            )
    results = {**baselines, "trained": trained}
    folder.write_json(RESULTS, results)
    runs.draw_curves(folder / "metrics.csv", folder / "curves.png")
    print(f"\n{evaluation.table(results)}\n\nWritten to {folder.path}")
    path = shlex.quote(str(folder.path))
    print(f"Look into it: python -m keras_ssl.report {path}, or tensorboard --logdir {path}")


if __name__ == "__main__":
    # A warning is one line, without the source line that raised it.
    warnings.formatwarning = lambda message, *_: f"warning: {message}\n"
    try:
        main()
    except ValueError as error:
        sys.exit(f"error: {error}")
    except callbacks.Stopped as stopped:
        sys.exit(128 + stopped.signal)
    except KeyboardInterrupt:
        sys.exit(130)
