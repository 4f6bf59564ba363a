"""One run: images, baselines, training, judgment, and what it leaves behind."""

import dataclasses
import datetime
import os
import pathlib
import random
import re
import shlex
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import keras

from keras_ssl import (
    _log,
    callbacks,
    data,
    distribution,
    encoders,
    evaluation,
    recipes,
    registry,
    runs,
)
from keras_ssl.pretraining import defaults
from keras_ssl.pretraining import options as options_
from keras_ssl.pretraining.options import Options, label, source_name
from keras_ssl.runs.folder import BASELINES, RESULTS
from keras_ssl.training.strategies import describe

# A run keeps its last checkpoint, and the one before in case the disk damages the last.
_KEPT_CHECKPOINTS = 2
_EVALUATE_EVERY = 10


class Pretrained(NamedTuple):
    """What a run leaves behind.

    Attributes:
        folder: The run's folder: config.json (options, versions, command), encoder.keras,
            checkpoints/, tensorboard/, metrics.csv, results.json, report.html, views.png and
            curves.png.
        encoder: The trained encoder, from images in [0, 1] to (N, D); `None` on all machines but
            the first.
        results: Figures by "raw pixels", "untrained" and "trained"; see
            `keras_ssl.evaluation.judge`.
    """

    folder: pathlib.Path
    encoder: keras.Model | None
    results: dict[str, dict[str, float]]


def train(options: Options, signals: callbacks.StopSignals) -> Pretrained:
    """Trains by the options; see `keras_ssl.pretrain`."""
    begun = time.monotonic()
    options_.check(options)
    budget = None if options.budget is None else defaults.seconds(options.budget)
    # This comes first: several machines must find each other before TensorFlow does anything else.
    strategy = distribution.strategy(options.strategy)
    replicas, writes = strategy.num_replicas_in_sync, distribution.is_chief(strategy)
    keras.utils.set_random_seed(options.seed)
    keras.config.set_dtype_policy(options.precision)
    is_new = options.resume is None
    folder = _name_folder(options, writes) if is_new else runs.RunFolder(options.resume)
    if is_new and writes:
        folder.check_new()
    config = options.began or {}
    _, is_small = options_.base_recipe(options)
    size = None
    if is_new and options.image_size is None and options_.is_plain(options.source):
        size = defaults.image_size(options.source)
    with runs.stage(f"loading {source_name(options)}"):
        scaling = None if is_new else config.get("scaling", ())
        pixels = size.value if size else options.image_size
        images, judged = options_.load_images(options, pixels, scaling)
    # Everything that can be wrong is checked before anything is written.
    recipe = options_.make_recipe(options, images.image_shape)
    options_.check_batches(recipe, replicas, options.micro_batch_size)
    policy = recipe.build_policy()
    has_probe = options.probe and judged.train.has_labels
    probe_images = judged.train if options.evaluate_on and has_probe else None
    views = data.make_views(images, policy, recipe.batch_size, options.seed, probe_images)

    def build(name: Any) -> keras.Model:
        with strategy.scope():
            decay = {} if options.layer_decay is None else {"layer_decay": options.layer_decay}
            model = recipe.build_model(
                _build_encoder(name, images.image_shape, options),
                probe=len(judged.train.class_names or ()) if has_probe else None,
                micro_batch_size=options.micro_batch_size,
                **decay,
            )
            model.build((None, *images.image_shape))
        return model

    def measure(name: Any) -> defaults.Speed:
        batches = data.make_views(images, policy, recipe.batch_size, options.seed, probe_images)
        state = random.getstate()  # Keras draws the seeds of initial weights from it.
        try:
            return defaults.measure(build(name), batches)
        finally:
            random.setstate(state)

    chooses_epochs = is_new and options.epochs is None and is_small and not options.smoke
    measured: dict[str, defaults.Speed] = {}
    can_measure = chooses_epochs and replicas == 1
    if budget is not None and not can_measure:
        raise ValueError(
            "`budget` needs one device, and a method with small settings, whose epochs are free. "
            f"Received: budget={options.budget!r} with {label(options)} on {replicas} replicas"
        )
    encoder_name, encoder_reason = options.encoder, ""
    if encoder_name is None and options.config is not None:
        encoder_name = options_.read_config(options)["encoder"]
    if encoder_name is None:
        names = defaults.encoders(images.image_shape)
        encoder_name = names[0]
        encoder_reason = f", for {images.image_shape[0]} px {defaults.machine()}"
        if budget is not None:

            def seconds(name: str) -> float:
                measured[name] = measure(name)
                return measured[name].epoch

            with runs.stage("timing a few steps"):
                left = budget - (time.monotonic() - begun)
                encoder_name, why = defaults.affordable(names, seconds, left)
            encoder_reason = f": {why}"
    model = build(encoder_name)
    encoder = model.encoder
    parts = {
        "images": images,
        "judged": judged,
        "encoder": _text(encoder_name) + encoder_reason,
        "image size": size,
        "epochs": "epochs" if chooses_epochs else f"{recipe.epochs} epochs",
        "steps": len(views),
        "folder": folder,
    }
    checkpoint = None if is_new else callbacks.latest_checkpoint(folder.checkpoints)
    begin = callbacks.position(checkpoint) if checkpoint else callbacks.Position(0, 0)
    after = f"{begin.epoch} epochs" + (f" and {begin.step} steps" if begin.step else "")
    parts["going on"] = "" if is_new else f", going on after {after}"
    _log.say(_header(options, recipe, model, parts))

    prints = {
        name: data.fingerprint(part)
        for name, part in {
            "training": images,
            "judging (train)": judged.train,
            "judging (test)": judged.test,
        }.items()
    }
    if not is_new:
        _check_data(prints, config)
    baselines, judgment = ({}, 0.0)
    if writes:
        baselines, judgment = _judge_baselines(folder, encoder, judged, policy)
    every = options.evaluate_every or _EVALUATE_EVERY
    if chooses_epochs:
        recipe, every = _choose_epochs(
            recipe, options, images.example_count, budget, begun, judgment, can_measure,
            measured.get(_text(encoder_name)) or (lambda: measure(encoder_name)),
        )  # fmt: skip
    with strategy.scope():
        optimizer = recipe.build_optimizer(len(views))
    evaluate = callbacks.EvaluationCallback(judged.train, judged.test, every=every, policy=policy)
    # Every machine looks, because all must stop together; only the first one writes.
    inspector = callbacks.EmbeddingInspector(
        images,
        policy,
        folder / "tensorboard" if writes else None,
        every=options.inspect_every,
        hparams=options_.hparams(options, recipe, replicas),
        write_graph=options.graph,
        seed=options.seed,
    )
    doctor = callbacks.CollapseDoctor(
        inspector, stop=options.stop_when_ill, checkpoint=folder / "checkpoints" / "healthy.keras"
    )
    saved = callbacks.EpochCheckpoint(
        folder.checkpoints, _KEPT_CHECKPOINTS, options.checkpoint_minutes, signals
    )
    if is_new and writes:
        folder.begin(
            {
                "command": [sys.executable, *sys.argv],
                "options": options_.stored(options),
                "recipe": recipe.get_config(),
                "encoder": _text(encoder_name),
                "image_size": images.image_shape[0] if size else options.image_size,
                "evaluate_every": every,
                "scaling": images.scaling,
                "data": prints,
                **runs.versions(),
                "replicas": replicas,
                "started": datetime.datetime.now().isoformat(timespec="seconds"),
            }
        )
        folder.write_json(BASELINES, baselines)
        data.view_grid(images, policy, folder / "views.png", seed=options.seed)
    elif writes:
        folder.go_on(config)

    progress = runs.Progress()
    results: dict[str, dict[str, float]] = {}
    try:
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
                    *_profilers(options, folder, writes),
                    # The last one: everything that it saves is already logged.
                    saved,
                ],
            )
        finally:
            # Keras calls these only if training ends normally.
            for callback in (progress, inspector, doctor, saved):
                callback.on_train_end()
        if writes:
            results = _finish(folder, model, recipe.epochs, evaluate, baselines, options)
    except callbacks.NonFiniteLossError as error:
        kept = callbacks.checkpoints(folder.checkpoints)
        error.add_note(
            f"The last good checkpoint is {kept[-1]}" if kept else "No epoch was finished"
        )
        raise
    except distribution.WorkerLostError as error:
        # End at once: a normal end of the program would wait for the machine that is lost.
        print(f"error: {error}\nGo on with --resume {folder.path}", file=sys.stderr, flush=True)
        os._exit(1)
    except OSError as error:
        error.add_note(
            "Make room or repair the disk, then go on from the last checkpoint: "
            f"{resume_command(folder)}"
        )
        raise
    except KeyboardInterrupt:
        kept = callbacks.checkpoints(folder.checkpoints)
        stopped = "Stopped before anything was learned."
        if kept and writes:
            folder.save_encoder(keras.models.load_model(kept[-1], compile=False).encoder)
            stopped = f"Stopped. The encoder so far is {folder / 'encoder.keras'}"
        going_on = f"Go on exactly from there: {resume_command(folder)}"
        print(f"\n{stopped}\n{going_on}", file=sys.stderr, flush=True)
        raise
    finally:
        folder.close()
    return Pretrained(folder.path, model.encoder if writes else None, results)


def _text(name: Any) -> str:
    """The name of an encoder, which may also be a model."""
    return name if isinstance(name, str) else str(getattr(name, "name", name))


def _build_encoder(name: Any, image_shape: tuple[int, int, int], options: Options) -> keras.Model:
    """Loads or builds the encoder, and chooses what of it is trained."""
    encoder = encoders.load_encoder(
        name,
        image_shape,
        encoders.parse_range(options.input_range),
        options.weights,
        options.pooling,
    )
    if options.freeze is None and options.lora_rank is None:
        return encoder
    return encoders.prepare_training(
        encoder, options_.parse_freeze(options.freeze), options.lora_rank
    )


def _name_folder(options: Options, writes: bool) -> runs.RunFolder:
    """Returns the folder of a new run."""
    if options.out is not None:
        return runs.RunFolder(options.out)
    if not writes:
        raise ValueError("`out` must be given, the same folder on all machines")
    now = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    # Wildcards and braces of shards would trouble a shell.
    source = re.sub(r"[*?\[\]{},]+", "_", source_name(options).replace(":", "-"))
    source = pathlib.Path(source).resolve().stem
    name = label(options).replace(">", "-")  # A name registered with Keras has a ">".
    return runs.RunFolder(pathlib.Path("runs") / f"{now}-{name}-{source}")


def _check_data(prints: dict[str, str], config: dict[str, Any]) -> None:
    """Raises a `ValueError` if the images are not those that a run began with."""
    for part, before in config.get("data", {}).items():
        if prints.get(part) != before:
            raise ValueError(
                "`resume` must be given the images that the run began with: its "
                f"{part} images were {before}. Received: {prints.get(part)}"
            )


def _choose_epochs(
    recipe: recipes.Recipe,
    options: Options,
    images: int,
    budget: float | None,
    begun: float,
    judgment: float,
    can_measure: bool,
    speed: defaults.Speed | Callable[[], defaults.Speed],
) -> tuple[recipes.Recipe, int]:
    """Returns the recipe with its epochs, and the epochs between judgments; says why."""
    every = options.evaluate_every or _EVALUATE_EVERY
    if not can_measure:
        number, why = defaults.epochs(images)
        _log.say(f"  epochs     {number}: {why}")
        return dataclasses.replace(recipe, epochs=number), every
    if callable(speed):
        with runs.stage("timing a few steps"):
            speed = speed()
    if budget is not None:
        left = budget - (time.monotonic() - begun)
        plan = defaults.spend(left, speed.epoch, judgment, speed.compiling)
        every = options.evaluate_every or plan.evaluate_every
        _log.say(
            f"  epochs     {plan.epochs}, judged every {every}: they fit the budget of "
            f"{options.budget}, of which {runs.duration(max(left, 0))} are left"
        )
        return dataclasses.replace(recipe, epochs=plan.epochs), every
    number, why = defaults.epochs(images)
    total = speed.compiling + number * speed.epoch + judgment * (2 + number / every)
    _log.say(
        f"  epochs     {number}: {why}; about {runs.duration(total)} on this machine "
        "(--budget 10min fits the run to ten minutes)"
    )
    return dataclasses.replace(recipe, epochs=number), every


def _header(options: Options, recipe: recipes.Recipe, model: Any, parts: dict[str, Any]) -> str:
    """Describes the run that is about to start: images, encoder, training, devices and folder."""
    images, judged, size = parts["images"], parts["judged"], parts["image size"]
    skipped = f", {len(images.skipped)} files skipped" if images.skipped else ""
    chosen = f" ({size.reason})" if size else ""
    where = options.evaluate_on or source_name(options)
    unit, grouped = "images", ""
    if images.groups is not None:
        unit, grouped = "groups", f" in {images.example_count} groups"
    lines = {
        "images": f"{source_name(options)}: {len(images)} of {images.image_shape}{grouped}"
        f"{chosen}, policy {recipe.policy}{skipped}",
        "judging": "effective rank alone, because there are no labels"
        if judged.test is None
        else f"{where}: {_classes(judged.train)}; {len(judged.test)} images held out"
        + ("" if options.evaluate_on else " (--no-labels trains on all)"),
        "encoder": f"{parts['encoder']}; {model.encoder.count_params():,} parameters; projector "
        f"{recipe.projector}; images in {encoders.describe_range(model.encoder)}",
        "training": f"{parts['epochs']} of {parts['steps']} steps of {recipe.batch_size} "
        f"{unit}, {recipe.optimizer.__name__}, base learning rate "
        f"{recipe.base_learning_rate:g}, {options.precision}",
        "devices": describe(model.distribute_strategy),
        "run": f"{parts['folder'].path}{parts['going on']}",
    }
    body = "\n".join(f"  {name:<10} {text}" for name, text in lines.items())
    return f"{label(options)} ({recipe.source})\n{body}"


def _classes(images: data.ImageSet) -> str:
    """Says how many classes there are, and the first of their names."""
    names = [str(name) for name in images.class_names or ()]
    return f"{len(names)} classes ({', '.join(names[:4])}{', ...' if len(names) > 4 else ''})"


def _judge_baselines(
    folder: runs.RunFolder, encoder: Any, judged: data.Splits, policy: Any
) -> tuple[dict[str, Any], float]:
    """Judges raw pixels and the untrained encoder; a resumed run reads its earlier figures.

    Returns:
        The figures, and the seconds that a judgment of the encoder takes.
    """
    if (earlier := folder.read_json(BASELINES)) is not None:
        return earlier, 0.0
    baselines = {}
    # A resumed run has the same seed, and therefore the same untrained encoder.
    for name, model in {
        "raw pixels": evaluation.raw_pixels(judged.train.image_shape),
        "untrained": encoder,
    }.items():
        start = time.monotonic()
        with runs.stage(f"judging {name if name == 'raw pixels' else 'the untrained encoder'}"):
            its = None if name == "raw pixels" else policy
            baselines[name] = evaluation.judge(model, judged.train, judged.test, policy=its)
        if "knn" in baselines[name]:
            knn, linear = baselines[name]["knn"], baselines[name]["linear"]
            _log.say(f"  {name}: kNN {100 * knn:.1f} %, linear {100 * linear:.1f} %")
    return baselines, time.monotonic() - start


def _profilers(options: Options, folder: runs.RunFolder, writes: bool) -> list[Any]:
    """Returns Keras' own profiler in a list, or an empty list without `profile`."""
    if not (writes and options.profile):
        return []
    return [
        keras.callbacks.TensorBoard(
            folder / "profile", write_graph=False, profile_batch=options.profile
        )
    ]


def resume_command(folder: runs.RunFolder) -> str:
    """Returns the command that goes on with a run."""
    imports = [word for name in registry.IMPORTED for word in ("--import", name)]
    return shlex.join(["keras-ssl", "pretrain", "--resume", str(folder.path), *imports])


def _finish(
    folder: runs.RunFolder,
    model: Any,
    epochs: int,
    evaluate: callbacks.EvaluationCallback,
    baselines: dict[str, Any],
    options: Options,
) -> dict[str, dict[str, float]]:
    """Writes the encoder, its figures, a picture of the curves and the report."""
    from keras_ssl.report import report

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
    if not options.smoke:
        with runs.stage("writing the report"):
            report([folder.path], folder / "report.html")
    _log.say(f"\n{evaluation.table(results)}\n\n{learned(results)}")
    path, source = shlex.quote(str(folder.path)), shlex.quote(source_name(options))
    _log.say(
        f"Everything is in {folder.path}{'' if options.smoke else ': open report.html first'}.\n\n"
        "To write a row of features for each image, to see which images look alike, and to take "
        "the encoder elsewhere:\n"
        f"  keras-ssl embed {path} {source}\n"
        f"  keras-ssl neighbors {path} {source}\n"
        f"  keras-ssl export {path} exported"
    )
    return results


def learned(results: dict[str, dict[str, float]]) -> str:
    """Says in one sentence what was learned."""
    trained, untrained = results["trained"], results["untrained"]
    if "knn" not in trained:
        return (
            f"The features use {trained['rankme']:.0f} directions (RankMe), those of the untrained "
            f"encoder {untrained['rankme']:.0f}. Without labels, nothing tells for sure whether "
            "they are better: look at the neighbors."
        )
    now, before = (100 * figures["knn"] for figures in (trained, untrained))
    verdict = "The encoder learned" if now > before else "The encoder did not get better"
    pixels = 100 * results["raw pixels"]["knn"]
    return (
        f"{verdict}: kNN {now:.1f} % against {before:.1f} % untrained (raw pixels {pixels:.1f} %)."
    )
