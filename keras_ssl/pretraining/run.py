"""One run: images, baselines, training, judgment, and what it leaves behind."""

import contextlib
import dataclasses
import datetime
import os
import pathlib
import sys
from collections.abc import Iterator
from typing import Any, NamedTuple

import keras

from keras_ssl import _log, callbacks, data, distribution, evaluation, recipes, runs
from keras_ssl.evaluation.judgment import MAX_IMAGES
from keras_ssl.pretraining import budget, defaults, words
from keras_ssl.pretraining import options as options_
from keras_ssl.pretraining.options import Options
from keras_ssl.pretraining.setup import Setup, prepare
from keras_ssl.runs.folder import BASELINES, RESULTS

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


@contextlib.contextmanager
def _precision_kept() -> Iterator[None]:
    """A scope after which Keras has the policy of precision that it had."""
    before = keras.config.dtype_policy()
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


@_precision_kept()
def train(options: Options, signals: callbacks.StopSignals) -> Pretrained:
    """Trains by the options; see `keras_ssl.pretrain`."""
    # A run that only tries the command has no time to fit anything to.
    clock = budget.Clock(None if options.smoke else options.budget)
    setup = prepare(options)
    if setup.is_new and setup.writes:
        # Now, because minutes of work come before the first file.
        setup.folder.take(may_be_renamed=options.out is None)
    try:
        return _train(setup, clock, signals)
    finally:
        setup.folder.leave()


def _train(setup: Setup, clock: budget.Clock, signals: callbacks.StopSignals) -> Pretrained:
    options, folder, writes = setup.options, setup.folder, setup.writes
    encoder, why, speed = _choose_encoder(setup, clock)
    checkpoint = None if setup.is_new else callbacks.latest_checkpoint(folder.checkpoints)
    # A checkpoint holds all of the encoder. What the run began from may be gone; it is only needed
    # if nothing was trained or judged yet.
    is_judged = (folder / BASELINES).is_file()
    if checkpoint is not None and is_judged:
        model = _load(setup, checkpoint)
    else:
        model = setup.build_model(encoder)
    begin = callbacks.position(checkpoint) if checkpoint else callbacks.Position(0, 0)
    _log.say(words.header(setup, model, _text(encoder) + why, begin))

    prints = _fingerprints(setup)
    baselines, judgment = _judge_baselines(setup, model.encoder) if writes else ({}, 0.0)
    recipe, every = setup.recipe, options.evaluate_every or _EVALUATE_EVERY
    why_epochs = ""
    if clock.budget is not None:
        plan = _fit_to_budget(setup, clock, speed or setup.measure(encoder), judgment)
        recipe, every = dataclasses.replace(recipe, epochs=plan.epochs), plan.evaluate_every
    elif setup.chooses_epochs:
        number, why_epochs = defaults.epochs(setup.images.example_count)
        recipe = dataclasses.replace(recipe, epochs=number)
    with setup.strategy.scope():
        optimizer = recipe.build_optimizer(len(setup.views))
        if checkpoint is None:
            model.compile(optimizer)
    if why_epochs:
        _say_epochs(setup, model, recipe.epochs, why_epochs, judgment * (2 + recipe.epochs / every))
    watchers = _watchers(setup, recipe, every, _text(encoder))
    if setup.is_new and writes:
        folder.begin(
            {
                "command": [sys.executable, *sys.argv],
                "directory": os.getcwd(),
                "options": options_.stored(options),
                "recipe": recipe.get_config(),
                "encoder": _text(encoder),
                "image_size": setup.images.image_shape[0] if setup.size else options.image_size,
                "image_shape": setup.images.image_shape,
                "evaluate_every": every,
                "scaling": setup.images.scaling,
                "data": prints,
                "trains_on_all": options.evaluate_on is not None,
                **runs.versions(),
                "replicas": setup.replicas,
                "started": datetime.datetime.now().isoformat(timespec="seconds"),
            }
        )
        folder.write_json(BASELINES, baselines)
        views = folder / "views.png"
        data.view_grid(setup.images, setup.policy, views, seed=options.seed)
    elif writes:
        folder.go_on(options.began)
        folder.note_continuation(f"epoch {begin.epoch}, step {begin.step}")

    results: dict[str, dict[str, float]] = {}
    with _explaining(setup):
        if checkpoint is not None and not is_judged:
            model = _load(setup, checkpoint)
        _fit(setup, model, recipe.epochs, begin, watchers, signals)
        if writes:
            results = _finish(setup, model, recipe.epochs, watchers, baselines)
    return Pretrained(folder.path, model.encoder if writes else None, results)


def _load(setup: Setup, checkpoint: pathlib.Path) -> keras.Model:
    """Loads the model of a checkpoint, with its optimizer."""
    with setup.strategy.scope():
        return keras.models.load_model(checkpoint)


def _text(name: Any) -> str:
    """The name of an encoder, which may also be a path or a model."""
    if isinstance(name, (str, os.PathLike)):
        return os.fspath(name)
    return str(getattr(name, "name", name))


# --- Choices -------------------------------------------------------------------------------------


def _choose_encoder(setup: Setup, clock: budget.Clock) -> tuple[Any, str, budget.Speed | None]:
    """Returns the encoder or its name, why it was chosen, and how fast it trains if that is known.

    With a budget, encoders are timed until one is too slow.
    """
    options, shape = setup.options, setup.images.image_shape
    if options.encoder is not None:
        return options.encoder, "", None
    if options.config is not None and (name := options_.read_config(options)["encoder"]):
        return name, "", None
    if clock.budget is None:
        return *defaults.encoder(shape, options.method), None
    names = defaults.encoders(shape, options.method)
    measured: dict[str, budget.Speed] = {}

    def per_epoch(name: str) -> float:
        measured[name] = setup.measure(name)
        return measured[name].epoch

    enough = defaults.epochs(setup.images.example_count).value
    left = max(clock.left() - setup.time_to_decode(), 0.0)
    name, why = budget.affordable(names, per_epoch, left, enough)
    return name, f": {why}", measured[name]


def _fit_to_budget(
    setup: Setup, clock: budget.Clock, speed: budget.Speed, judgment: float
) -> budget.Schedule:
    """Fits epochs and judgments to the time that is left, and says so.

    Args:
        setup: What the run trains.
        clock: The time that there is.
        speed: How fast the model trains.
        judgment: Seconds of one judgment.
    """
    left = clock.left()
    every = setup.options.evaluate_every
    once = speed.compiling + setup.time_to_decode()
    if speed.epoch > budget.seconds(setup.options.budget):
        raise ValueError(
            f"`budget` must pay for an epoch, which takes about {runs.duration(speed.epoch)} here: "
            "give more time, a smaller `image_size` or `view_size`, or a faster `encoder`. "
            f"Received: budget={setup.options.budget!r}"
        )
    plan = budget.spend(left, speed.epoch, judgment, once, every)
    fits = "they fit" if plan.seconds <= max(left, 0) else "the fewest, which take more than"
    _log.say(
        f"  epochs     {plan.epochs}, judged every {plan.evaluate_every}: {fits} the budget of "
        f"{setup.options.budget}, of which {runs.duration(max(left, 0))} are left; compiling, "
        f"judgments and pictures take about {runs.duration(plan.others)}"
    )
    return plan


def _say_epochs(setup: Setup, model: keras.Model, epochs: int, why: str, judging: float) -> None:
    """Says how many epochs there will be and, on one device, about how long they will take.

    Args:
        setup: What the run trains.
        model: The compiled model; what is traced here is used again in training.
        epochs: The number of epochs.
        why: The reason for the number.
        judging: Seconds of all judgments.
    """
    estimate = ""
    if setup.can_be_timed:
        # A loss that is not finite so early will be so again, and then the run explains it.
        with runs.stage("timing a few steps"), contextlib.suppress(callbacks.NonFiniteLossError):
            speed = budget.measure(model, setup.views)
            seconds = epochs * speed.epoch + judging + setup.time_to_decode()
            estimate = (
                f"; about {runs.duration(seconds)} on this machine "
                "(--budget 10min fits the run to ten minutes)"
            )
    _log.say(f"  epochs     {epochs}: {why}{estimate}")


# --- Before, during and after training -----------------------------------------------------------


def _fingerprints(setup: Setup) -> dict[str, str]:
    """Returns what tells the images of a run from others.

    Raises:
        ValueError: if a run goes on with other images than it began with.
    """
    prints = {
        name: data.fingerprint(part)
        for name, part in {
            "training": setup.images,
            "judging (train)": setup.judged.train,
            "judging (test)": setup.judged.test,
        }.items()
    }
    began = {} if setup.is_new else setup.options.began.get("data", {})
    for part, before in began.items():
        if prints.get(part) != before:
            raise ValueError(
                "`resume` must be given the images that the run began with: its "
                f"{part} images were {before}. Received: {prints.get(part)}"
            )
    return prints


def _judge_baselines(setup: Setup, encoder: keras.Model) -> tuple[dict[str, Any], float]:
    """Judges raw pixels and the untrained encoder; a resumed run reads its earlier figures.

    Returns:
        The figures, and the seconds that a judgment of the encoder takes.
    """
    if (earlier := setup.folder.read_json(BASELINES)) is not None:
        return earlier, 0.0
    train, test = setup.judged
    stopwatch = budget.Clock()
    with runs.stage("judging raw pixels"):
        pixels, is_known = evaluation.judge_raw_pixels(train, test)
    _say_accuracy("raw pixels", pixels, ", known from an earlier run" if is_known else "")
    before = stopwatch.elapsed()
    # A resumed run has the same seed, and therefore the same untrained encoder.
    with runs.stage("judging the untrained encoder"):
        untrained = evaluation.judge(encoder, train, test, policy=setup.policy)
    _say_accuracy("untrained", untrained)
    return {"raw pixels": pixels, "untrained": untrained}, stopwatch.elapsed() - before


def _say_accuracy(name: str, figures: dict[str, float], remark: str = "") -> None:
    if "knn" in figures:
        knn, linear = figures["knn"], figures["linear"]
        _log.say(f"  {name}: kNN {100 * knn:.1f} %, linear {100 * linear:.1f} %{remark}")


class _Watchers(NamedTuple):
    """What looks at a model while it trains."""

    evaluate: callbacks.EvaluationCallback
    inspector: callbacks.EmbeddingInspector
    doctor: callbacks.CollapseDoctor
    profilers: list[keras.callbacks.Callback]


def _watchers(setup: Setup, recipe: recipes.Recipe, every: int, encoder: str) -> _Watchers:
    """Makes what looks at the model: judgments, the inspector, the doctor, Keras' profiler."""
    options, folder, judged = setup.options, setup.folder, setup.judged
    evaluate = callbacks.EvaluationCallback(
        judged.train, judged.test, every=every, policy=setup.policy
    )
    # Every machine looks, because all must stop together; only the first one writes.
    inspector = callbacks.EmbeddingInspector(
        setup.images,
        setup.policy,
        folder / "tensorboard" if setup.writes else None,
        every=options.inspect_every,
        hparams={**options_.hparams(options, recipe, setup.replicas), "encoder": encoder},
        write_graph=options.graph,
        seed=options.seed,
    )
    healthy = folder / "checkpoints" / "healthy.keras"
    doctor = callbacks.CollapseDoctor(inspector, stop=options.stop_when_ill, checkpoint=healthy)
    profilers = []
    if setup.writes and options.profile:
        profile = keras.callbacks.TensorBoard(
            folder / "profile", write_graph=False, profile_batch=options.profile
        )
        profilers.append(profile)
    return _Watchers(evaluate, inspector, doctor, profilers)


def _fit(
    setup: Setup,
    model: keras.Model,
    epochs: int,
    begin: callbacks.Position,
    watchers: _Watchers,
    signals: callbacks.StopSignals,
) -> None:
    """Trains the model, with a checkpoint after each epoch."""
    folder, progress = setup.folder, runs.Progress()  # in place of Keras' bar
    saved = callbacks.EpochCheckpoint(
        folder.checkpoints, _KEPT_CHECKPOINTS, setup.options.checkpoint_minutes, signals
    )
    log = [runs.MetricsLog(folder / "metrics.csv", begin.epoch)] if setup.writes else []
    try:
        model.fit(
            setup.views,
            epochs=epochs,
            initial_epoch=begin.epoch,
            initial_step=begin.step,
            verbose=0,
            callbacks=[
                progress,
                callbacks.StopOnNonFinite(),  # before any callback looks at broken weights
                watchers.evaluate,
                watchers.inspector,
                watchers.doctor,
                *log,
                *watchers.profilers,
                # The last one: everything that it saves is already logged.
                saved,
            ],
        )
    finally:
        # Keras calls these only if training ends normally.
        for callback in (progress, watchers.inspector, watchers.doctor, saved):
            callback.on_train_end()


@contextlib.contextmanager
def _explaining(setup: Setup) -> Iterator[None]:
    """A scope that leaves the folder in order, however it ends, and says how to go on."""
    folder, going_on = setup.folder, words.resume_command(setup.folder, setup.options)
    try:
        yield
    except callbacks.NonFiniteLossError as error:
        kept = callbacks.checkpoints(folder.checkpoints)
        error.add_note(
            f"The last good checkpoint is {kept[-1]}" if kept else "No epoch was finished"
        )
        raise
    except distribution.WorkerLostError as error:
        # End at once: a normal end of the program would wait for the machine that is lost.
        print(f"error: {error}\nGo on: {going_on}", file=sys.stderr, flush=True)
        os._exit(1)
    except OSError as error:
        error.add_note(
            f"Make room or repair the disk, then go on from the last checkpoint: {going_on}"
        )
        raise
    except KeyboardInterrupt:
        kept = callbacks.checkpoints(folder.checkpoints)
        stopped = "Stopped before anything was learned."
        if kept and setup.writes:
            folder.save_encoder(keras.models.load_model(kept[-1], compile=False).encoder)
            stopped = f"Stopped. The encoder so far is {folder / 'encoder.keras'}"
        print(f"\n{stopped}\nGo on exactly from there: {going_on}", file=sys.stderr, flush=True)
        raise
    finally:
        folder.close()


def _finish(
    setup: Setup,
    model: keras.Model,
    epochs: int,
    watchers: _Watchers,
    baselines: dict[str, Any],
) -> dict[str, dict[str, float]]:
    """Writes the encoder, its figures, a picture of the curves and the report."""
    from keras_ssl.reporting.page import write_page

    folder, options, evaluate = setup.folder, setup.options, watchers.evaluate
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
            write_page([folder.path], folder / "report.html")
    judged = 0 if evaluate.test is None else len(evaluate.test.spread(MAX_IMAGES))
    _log.say(words.last_screen(options, folder, results, judged, watchers.doctor.diagnoses))
    return results
