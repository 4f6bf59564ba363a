"""Pretrains an encoder on images without labels, judges it, and leaves a run folder behind.

    python examples/pretrain.py                # digits, VICReg: `make pretrain`
    python examples/pretrain.py --method simclr --data path/to/images --epochs 100
    python examples/pretrain.py --method barlow-twins --data cifar10 --download
    python examples/pretrain.py --method vicreg --criterion covariance_weight=4 --epochs 100
    python examples/pretrain.py --strategy mirrored --batch-size 1024 --data path/to/images
    python examples/pretrain.py --config runs/tuning_gap-digits/best/simclr.json --epochs 100
    python examples/pretrain.py --resume runs/20260101-120000-vicreg-digits

Hardware and time: the default runs on two CPU cores in about a minute. Expected: both accuracies
of the trained encoder well above the untrained one's; digits of 8x8 pixels are easy for raw pixels
too.

The run folder holds config.json (options, versions, command), encoder.keras (plain Keras, for any
program), checkpoints/ (the whole model, to go on from), tensorboard/, metrics.csv, results.json,
views.png and curves.png.
"""

import argparse
import csv
import dataclasses
import datetime
import importlib.metadata
import inspect
import json
import os
import pathlib
import platform
import sys
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras

from keras_ssl import callbacks, data, distribution, encoders, evaluation, recipes

BASELINES = "baselines.json"
SMOKE_EPOCHS = 2


def option(default: Any, group: str, text: str, **kwargs: Any) -> Any:
    """A field of `Options` with its place and text in `--help`."""
    return dataclasses.field(default=default, metadata={"group": group, "help": text, **kwargs})


@dataclasses.dataclass(frozen=True)
class Options:
    """What the command line sets; `None` takes the recipe's value, or what fits the images."""

    source: str = option(
        "digits",
        "data",
        '"digits", a folder of images, an .npz file, or a tensorflow-datasets name',
        flags=("--data",),
    )
    evaluate_on: str | None = option(
        None, "data", "other, labelled data to judge the encoder on, of the same kinds"
    )
    image_size: int | None = option(None, "data", "height and width of the images, in pixels")
    channels: int | None = option(None, "data", "channels of a folder's images: 1, 3 or 4")
    labels: bool = option(True, "data", "use labels, where there are any, to judge the encoder")
    data_dir: str | None = option(None, "data", "where tensorflow-datasets keeps its data")
    download: bool = option(False, "data", "let tensorflow-datasets download")
    policy: str | None = option(None, "data", f"augmentation: {', '.join(data.POLICIES)}")
    recipe: str = option(
        "vicreg",
        "model",
        f"method, with small settings: {', '.join(recipes.SMALL)}; or published settings: "
        f"{', '.join(recipes.PUBLISHED)}",
        flags=("--method", "--recipe"),
    )
    config: str | None = option(
        None,
        "model",
        "settings to start from, in place of a method: best/NAME.json of a study (tuning/), or "
        "config.json of a run",
    )
    encoder: str | None = option(
        None, "model", f"{', '.join(encoders.ENCODERS)}, or a name of keras.applications"
    )
    projector: str | None = option(None, "model", 'widths, such as "2048-2048-512"')
    temperature: float | None = option(None, "criterion", "temperature, where it has one")
    criterion: str | None = option(
        None, "criterion", 'any of its settings, such as "covariance_weight=4,variance_weight=10"'
    )
    epochs: int | None = option(None, "optimiser", "epochs")
    batch_size: int | None = option(None, "optimiser", "images per step, over all devices")
    micro_batch_size: int | None = option(
        None, "optimiser", "images at a time on one device, for batches larger than its memory"
    )
    base_lr: float | None = option(
        None, "optimiser", "learning rate at a batch of 256; scaled by batch / 256"
    )
    weight_decay: float | None = option(None, "optimiser", "weight decay")
    optimizer: str | None = option(None, "optimiser", ", ".join(recipes.OPTIMIZERS))
    precision: str = option(
        "float32", "run", "dtype policy: float32, mixed_float16 or mixed_bfloat16"
    )
    strategy: str = option(
        "auto",
        "run",
        f"devices: {', '.join(distribution.STRATEGIES)}; see docs/devices.md",
    )
    probe: bool = option(True, "run", "train the online linear probe along, if there are labels")
    evaluate_every: int = option(10, "run", "epochs between judgements of the encoder")
    inspect_every: int | None = option(
        None, "run", "epochs between looks at a fixed sample (default: what costs under 3 %%)"
    )
    stop_when_ill: bool = option(
        False, "run", "stop at a collapse or a learning rate that blows up"
    )
    graph: bool = option(False, "run", "write the model's graph for TensorBoard")
    profile: str | None = option(
        None,
        "run",
        'steps to profile for TensorBoard, as "10,20"; needs tensorboard-plugin-profile',
    )
    seed: int = option(0, "run", "seed of weights, orders and augmentations")
    logdir: str | None = option(None, "run", "run folder; default: runs/TIME-METHOD-DATA")
    smoke: bool = option(False, "run", "shrink everything to seconds")

    @property
    def label(self) -> str:
        """What the settings are called."""
        if self.config is None:
            return self.recipe
        path = pathlib.Path(self.config)
        return path.stem if path.stem != "config" else path.parent.name


def parse(arguments: list[str] | None = None) -> tuple[Options, pathlib.Path | None]:
    """Options from the command line, or of the run to resume, and its folder."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    groups: dict[str, Any] = {}
    for field in dataclasses.fields(Options):
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
        text = settings.pop("help") + ("" if default in (None, False) else f" (default: {default})")
        # Not given is told from given as the default: --resume takes no other option.
        groups[group].add_argument(
            *flags, dest=field.name, default=argparse.SUPPRESS, help=text, **settings
        )
    groups["run"].add_argument(
        "--resume", metavar="RUN", help="go on with an interrupted run, with its own options"
    )
    given = vars(parser.parse_args(arguments))
    resume = given.pop("resume")
    if {"config", "recipe"} <= set(given):
        parser.error("--config has a method: remove --method")
    if resume is None:
        return Options(**given), None
    if given:
        parser.error(f"--resume takes the options of the run; remove {', '.join(given)}")
    config = pathlib.Path(resume) / "config.json"
    if not config.is_file():
        parser.error(f"--resume: {config} is not there")
    options = Options(**json.loads(config.read_text())["options"])
    if options.config is not None:
        # What the run began with: the other file may have changed since.
        options = dataclasses.replace(options, config=str(config))
    return options, pathlib.Path(resume)


def read_config(options: Options) -> dict[str, Any]:
    """What --config names: a recipe, and perhaps an encoder."""
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
            "--encoder must be given: the study of --config made its encoders by a function of its "
            f"own, with {config['settings']}. Received: {options.config!r}"
        )
    return {"recipe": recipe, "encoder": config.get("encoder")}


def make_recipe(options: Options, image_shape: tuple[int, int, int]) -> recipes.Recipe:
    """The named recipe with the options put in."""
    known = {**recipes.SMALL, **recipes.PUBLISHED}
    if options.config is None and options.recipe not in known:
        raise ValueError(f"--method must be one of {list(known)}. Received: {options.recipe!r}")
    if options.optimizer is not None and options.optimizer not in recipes.OPTIMIZERS:
        raise ValueError(
            f"--optimizer must be one of {list(recipes.OPTIMIZERS)}. Received: "
            f"{options.optimizer!r}"
        )
    recipe = known[options.recipe] if options.config is None else read_config(options)["recipe"]
    policy = options.policy
    if policy is None and options.config is None and options.recipe in recipes.SMALL:
        policy = data.policy_for(image_shape)
    changes = {
        "policy": policy,
        "projector": options.projector,
        "epochs": options.epochs,
        "batch_size": options.batch_size,
        "base_learning_rate": options.base_lr,
        "weight_decay": options.weight_decay,
        "optimizer": options.optimizer and recipes.OPTIMIZERS[options.optimizer],
    }
    if options.smoke:
        changes.update(epochs=SMOKE_EPOCHS, batch_size=64, projector="32-32")
    settings = dict(recipe.criterion)
    arguments = list(inspect.signature(recipe.model.default_criterion).parameters)
    if options.temperature is not None:
        if "temperature" not in arguments:
            raise ValueError(
                f"--temperature has no meaning for {options.label}, whose criterion takes "
                f"{arguments}. Received: {options.temperature}"
            )
        settings["temperature"] = options.temperature
    for setting in (options.criterion or "").split(",") if options.criterion else ():
        name, _, value = (part.strip() for part in setting.partition("="))
        if name not in arguments or not value:
            raise ValueError(
                f"--criterion takes NAME=VALUE with NAME of {arguments} for {options.label}. "
                f"Received: {setting!r}"
            )
        try:
            settings[name] = json.loads(value)
        except json.JSONDecodeError:
            settings[name] = value  # a word
    changes["criterion"] = settings
    return dataclasses.replace(
        recipe, **{name: value for name, value in changes.items() if value is not None}
    )


def load_images(options: Options) -> tuple[data.ImageSet, data.Splits]:
    """Images to train on, and labelled ones to judge with."""

    def load(source: str, image_size: int | None, channels: int | None) -> data.Splits:
        splits = data.load(
            source,
            image_size=image_size,
            channels=channels,
            data_dir=options.data_dir,
            download=options.download,
        )
        if not options.labels and source == options.source:
            splits = data.Splits(splits.train.without_labels(), None)
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
            "--evaluate-on must be labelled data. "
            f"Received: {options.evaluate_on!r}, without labels"
        )
    if judge.train.image_shape != own.train.image_shape:
        raise ValueError(
            f"--evaluate-on must have images of shape {own.train.image_shape}. "
            f"Received: {judge.train.image_shape}"
        )
    return own.train, judge


def new_folder(options: Options, writes: bool = True) -> pathlib.Path:
    """The run's folder, which must be new for the process that writes it."""
    if not writes:
        if options.logdir is None:
            raise ValueError("--logdir must be given: the same folder on all machines")
        return pathlib.Path(options.logdir)
    if options.logdir is not None:
        folder = pathlib.Path(options.logdir)
    else:
        time = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
        source = pathlib.Path(options.source.replace(":", "-")).stem
        folder = pathlib.Path("runs") / f"{time}-{options.label}-{source}"
    if folder.exists() and any(folder.iterdir()):
        raise ValueError(
            f"The run folder {folder} holds something already: name another with --logdir, or "
            f"go on with it by --resume {folder}"
        )
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def write_json(path: pathlib.Path, content: Any) -> None:
    """Writes `content`, whole or not at all."""
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(content, indent=2, default=str) + "\n")
    os.replace(partial, path)


def write_config(
    folder: pathlib.Path, options: Options, recipe: recipes.Recipe, encoder: str, replicas: int
) -> None:
    """config.json: everything needed to know what this run was, and to repeat it."""
    packages = ("keras-ssl", "keras", "tensorflow", "tensorflow-datasets", "numpy", "scikit-learn")
    write_json(
        folder / "config.json",
        {
            "command": [sys.executable, *sys.argv],
            "options": dataclasses.asdict(options),
            "recipe": recipe.get_config(),
            "encoder": encoder,
            "versions": {name: importlib.metadata.version(name) for name in packages},
            "python": platform.python_version(),
            "replicas": replicas,
            "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
            "started": datetime.datetime.now().isoformat(timespec="seconds"),
        },
    )


def hparams(options: Options, recipe: recipes.Recipe, replicas: int) -> dict[str, Any]:
    """Every option of the run for TensorBoard's HParams tab; the model adds its own."""
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
    chosen.pop("logdir", None)  # What tells runs apart says nothing about them.
    return {name.replace("_", " "): value for name, value in chosen.items()}


class MetricsLog(keras.callbacks.CSVLogger):
    """A `CSVLogger` that goes on with the rows and the columns of the run it resumes.

    Keras' own takes its columns from the first epoch it sees, which may not be judged.
    """

    def __init__(self, path: pathlib.Path, first_epoch: int) -> None:
        super().__init__(path, append=first_epoch > 0)
        self._columns = None
        if first_epoch > 0:
            # An epoch that was logged but not checkpointed is done again.
            header, *rows = path.read_text().splitlines()
            path.write_text("\n".join([header, *rows[:first_epoch], ""]))
            self._columns = header.split(",")[1:]

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Opens the file."""
        super().on_train_begin(logs)
        self.keys = self._columns

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Writes the row; a full disk does not end the run."""
        try:
            super().on_epoch_end(epoch, logs)
        except OSError as error:
            print(f"warning: metrics.csv: {error}; training goes on", file=sys.stderr)


def draw_curves(folder: pathlib.Path) -> None:
    """curves.png from metrics.csv: the loss, its terms, the accuracies and the rank."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    with open(folder / "metrics.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    curves: dict[str, list[tuple[int, float]]] = {}
    for row in rows:
        for name, value in row.items():
            if name != "epoch" and value not in ("", "NA", None):
                curves.setdefault(name, []).append((int(row["epoch"]) + 1, float(value)))
    titles = ("loss", "terms, unweighted", "accuracy", "effective rank")
    panels: dict[str, list[str]] = {title: [] for title in titles}
    for name in curves:
        if name.endswith(("knn", "linear", "probe_accuracy")):
            panels["accuracy"].append(name)
        elif name.endswith(("rankme", "lidar")):
            panels["effective rank"].append(name)
        elif name == "loss":
            panels["loss"].append(name)
        elif not name.startswith(("learning_rate", "probe_loss", "val_")):
            panels["terms, unweighted"].append(name)
    panels = {title: names for title, names in panels.items() if names}
    figure, axes = plt.subplots(1, len(panels), figsize=(5 * len(panels), 4), squeeze=False)
    for axis, (title, names) in zip(axes[0], panels.items(), strict=True):
        for name in names:
            axis.plot(*zip(*curves[name], strict=True), marker=".", label=name)
        if title.startswith("terms") and min(v for name in names for _, v in curves[name]) > 0:
            axis.set_yscale("log")  # They differ by orders of magnitude.
        axis.set(title=title, xlabel="epoch")
        axis.grid(alpha=0.3)
        axis.legend()
    figure.tight_layout()
    figure.savefig(folder / "curves.png", dpi=100)
    plt.close(figure)


def main(arguments: list[str] | None = None) -> pathlib.Path:
    """Runs the script and returns the run's folder."""
    options, folder = parse(arguments)
    is_new = folder is None
    # First of all: several machines find each other before TensorFlow does anything else.
    strategy = distribution.strategy(options.strategy)
    replicas, writes = strategy.num_replicas_in_sync, distribution.is_chief(strategy)
    keras.utils.set_random_seed(options.seed)
    keras.config.set_dtype_policy(options.precision)

    images, judged = load_images(options)
    recipe = make_recipe(options, images.image_shape)
    policy = recipe.build_policy()
    probe_images = judged.train if options.evaluate_on and options.probe else None
    has_probe = options.probe and judged.train.has_labels
    # Everything that can be wrong is looked at before anything is written.
    data.two_views(images, policy, recipe.batch_size)
    if recipe.batch_size % replicas:
        raise ValueError(
            f"--batch-size must be a multiple of the number of replicas, {replicas}. "
            f"Received: {recipe.batch_size}"
        )
    steps = len(images) // recipe.batch_size
    evaluate = callbacks.EvaluationCallback(
        judged.train, judged.test, every=options.evaluate_every, policy=policy
    )
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
        optimizer = recipe.build_optimizer(steps)
    checkpoint = None
    if is_new:
        folder = new_folder(options, writes)
        if writes:
            write_config(folder, options, recipe, encoder_name, replicas)
            data.view_grid(images, policy, folder / "views.png", seed=options.seed)
    else:
        found = callbacks.checkpoints(folder / "checkpoints")
        checkpoint = found[-1] if found else None
    first_epoch = callbacks.epochs_done(checkpoint) if checkpoint else 0

    print(
        f"{options.label} ({recipe.source})\n"
        f"  images     {options.source}: {len(images)} of {images.image_shape}, "
        f"policy {recipe.policy}"
        + (f", {len(images.skipped)} unreadable files skipped" if images.skipped else "")
        + f"\n  judged on  {options.evaluate_on or options.source}: "
        + (
            f"{len(judged.train)} + {len(judged.test)} labelled images"
            if judged.test is not None
            else "effective rank alone, there being no labels"
        )
        + f"\n  encoder    {encoder_name}, {encoder.count_params():,} parameters; projector "
        f"{recipe.projector}\n"
        f"  training   {recipe.epochs} epochs of {steps} steps of {recipe.batch_size} images, "
        f"{recipe.optimizer.__name__}, base learning rate {recipe.base_learning_rate:g}, "
        f"{options.precision}\n"
        f"  devices    {type(strategy).__name__}, {replicas} in step\n"
        f"  run        {folder}" + (f", going on after epoch {first_epoch}" if not is_new else "")
    )

    baselines_file = folder / BASELINES
    if baselines_file.is_file():
        baselines = json.loads(baselines_file.read_text())
    elif writes:
        # Judged before training; an interrupted run has the same seed, and so the same encoder.
        baselines = {
            "raw pixels": evaluation.judge(
                evaluation.raw_pixels(judged.train.image_shape), judged.train, judged.test
            ),
            "untrained": evaluation.judge(encoder, judged.train, judged.test, policy=policy),
        }
        write_json(baselines_file, baselines)

    with strategy.scope():
        if checkpoint is None:
            model.compile(optimizer)
        else:
            model = keras.models.load_model(checkpoint)
    views = data.two_views(
        images, policy, recipe.batch_size, options.seed, first_epoch, probe_images
    )
    # Every machine looks, for all have to stop together; the first alone writes.
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
    records: list[keras.callbacks.Callback] = []
    if writes:
        records = [MetricsLog(folder / "metrics.csv", first_epoch)]
    if writes and options.profile:
        records.append(
            keras.callbacks.TensorBoard(
                folder / "profile", write_graph=False, profile_batch=options.profile
            )
        )
    try:
        model.fit(
            views,
            steps_per_epoch=steps,
            epochs=recipe.epochs,
            initial_epoch=first_epoch,
            shuffle=False,  # `two_views` shuffles.
            callbacks=[
                evaluate,
                inspector,
                doctor,
                callbacks.StopOnNonFinite(),
                *records,
                # Last: what it holds is logged already.
                callbacks.EpochCheckpoint(folder / "checkpoints"),
            ],
        )
    except callbacks.NonFiniteLossError as error:
        kept = callbacks.checkpoints(folder / "checkpoints")
        where = f"The last good checkpoint is kept: {kept[-1]}" if kept else "No epoch was finished"
        raise SystemExit(f"{error}\n{where}") from None
    except distribution.WorkerLostError as error:
        # At once: what TensorFlow does at the end of a program waits for the machine that is lost.
        print(f"error: {error}\nGo on with --resume {folder}", file=sys.stderr, flush=True)
        os._exit(1)
    finally:
        for record in (inspector, *records[:1]):
            record.on_train_end()  # Keras closes files only where training ends by itself.

    if not writes:
        return folder
    model.encoder.save(folder / "encoder.keras")
    trained = evaluation.judge(model.encoder, judged.train, judged.test, policy=policy)
    results = {**baselines, "trained": trained}
    write_json(folder / "results.json", results)
    draw_curves(folder)
    print(f"\n{evaluation.table(results)}\n\nWritten to {folder}")
    print(f"Look into it: python -m keras_ssl.report {folder}, or tensorboard --logdir {folder}")
    return folder


if __name__ == "__main__":
    try:
        main()
    except ValueError as error:
        sys.exit(f"error: {error}")
