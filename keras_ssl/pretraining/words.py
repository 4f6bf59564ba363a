"""What a run says before and after its training."""

import math
import shlex
from collections.abc import Sequence
from typing import Any

import keras

from keras_ssl import callbacks, data, encoders, evaluation, registry, runs
from keras_ssl.inspection.diagnosis import Diagnosis
from keras_ssl.pretraining.options import (
    Options,
    choose_policy,
    is_object,
    is_plain,
    label,
    source_name,
)
from keras_ssl.pretraining.setup import Setup
from keras_ssl.training.strategies import describe


def header(setup: Setup, model: keras.Model, encoder: str, begin: callbacks.Position) -> str:
    """Describes the run that is about to start: images, encoder, training, devices and folder.

    Args:
        setup: What the run trains.
        model: Its model.
        encoder: The encoder's name, and why it was chosen.
        begin: What is already done.
    """
    options, recipe, images, judged = setup.options, setup.recipe, setup.images, setup.judged
    skipped = f", {len(images.skipped)} files skipped" if images.skipped else ""
    chosen = f" ({setup.size.reason})" if setup.size else ""
    policy = choose_policy(options, recipe, setup.is_small, images.image_shape)
    fits = f" ({policy.reason})" if policy else ""
    smaller = f", views of {recipe.view_size} px" if recipe.view_size is not None else ""
    on_device = ", views made on the device" if setup.makes_views_on_device else ""
    where = options.evaluate_on or source_name(options)
    unit, grouped = "images", ""
    if images.groups is not None:
        unit, grouped = "groups", f" in {images.example_count} groups"
    fewer = f" ({setup.batch.reason})" if setup.batch and setup.batch.reason else ""
    epochs = "epochs" if setup.chooses_epochs else f"{recipe.epochs} epochs"
    after = f", going on after {begin.epoch} epochs"
    after += f" and {begin.step} steps" if begin.step else ""
    if begin.epoch >= recipe.epochs:
        after = ", all of its epochs are trained: a new run with this --encoder trains it longer"
    lines = {
        "images": f"{source_name(options)}: {len(images)} of {images.image_shape}{grouped}"
        f"{chosen}, policy {recipe.policy}{fits}{smaller}{on_device}{skipped}",
        "judging": "effective rank alone, because there are no labels"
        if judged.test is None
        else f"{where}: {_classes(judged.train)}; {len(judged.test)} images held out"
        + ("" if options.evaluate_on else " (--no-labels trains on all)"),
        "encoder": f"{encoder}; {model.encoder.count_params():,} parameters; projector "
        f"{recipe.projector}; images in {encoders.describe_range(model.encoder)}",
        "training": f"{epochs} of {len(setup.views)} steps of {recipe.batch_size} "
        f"{unit}{fewer}, {recipe.optimizer.__name__}, base learning rate "
        f"{recipe.base_learning_rate:g}, {options.precision}",
        "devices": describe(model.distribute_strategy),
        "run": f"{setup.folder.path}{'' if setup.is_new else after}",
    }
    body = "\n".join(f"  {name:<10} {text}" for name, text in lines.items())
    why = f"; for {setup.method.reason}" if setup.method and setup.method.reason else ""
    return f"{label(options)} ({recipe.source}{why})\n{body}"


def _classes(images: data.ImageSet) -> str:
    """Says how many classes there are, and the first of their names."""
    names = [str(name) for name in images.class_names or ()]
    return f"{len(names)} classes ({', '.join(names[:4])}{', ...' if len(names) > 4 else ''})"


def resume_command(folder: runs.RunFolder, options: Options) -> str:
    """Returns the command that goes on with a run, or the call, if it began with objects."""
    objects = [name for name in vars(options) if is_object(options, name)]
    if objects:
        given = "".join(f", {name}={name}" for name in objects)
        return f"keras_ssl.pretrain(resume={str(folder.path)!r}{given})"
    return _command("pretrain", "--resume", str(folder.path))


def _command(*words: str) -> str:
    """Returns a command that a shell takes, with the modules that this process imported."""
    imports = [word for name in registry.IMPORTED for word in ("--import", name)]
    return shlex.join(["keras-ssl", *words, *imports])


def last_screen(
    options: Options,
    folder: runs.RunFolder,
    results: dict[str, Any],
    judged: int,
    diagnoses: Sequence[Diagnosis] = (),
) -> str:
    """Says what was learned, where everything is, and what to type next.

    Args:
        options: The options of the run.
        folder: Its folder.
        results: The figures of the encoder and of what it is compared with.
        judged: Number of images that the accuracies are of.
        diagnoses: What the doctor says of the model at the end.
    """
    path, source = str(folder.path), source_name(options)
    more = "write a row of features for each image, to see which images look alike, and to "
    if not is_plain(options.source):  # A command line cannot name the images.
        run = repr(str(folder.path))
        commands = [
            f"keras_ssl.embed({run}, images)",
            f"keras_ssl.neighbors({run}, images)",
            f"keras_ssl.export({run}, 'exported', images=images)",
        ]
    else:
        commands = [_command(name, path, source) for name in ("embed", "neighbors")]
        if options.data_dir or options.examples:  # Neither has these options.
            more, commands = "", []
        commands.append(_command("export", path, "exported"))
    ill = "".join(f"The doctor says: {diagnosis}\n" for diagnosis in diagnoses)
    if ill:
        ill += f"After another run, compare both: {_command('report', path, 'runs/ANOTHER')}\n"
    return (
        f"\n{evaluation.table(results)}\n\n{learned(results, judged)}\n{ill}"
        f"Everything is in {folder.path}{'' if options.smoke else ': open report.html first'}.\n\n"
        f"To {more}take the encoder elsewhere:\n" + "\n".join(f"  {line}" for line in commands)
    )


def learned(results: dict[str, dict[str, float]], judged: int) -> str:
    """Says in one sentence what was learned; `judged` images is what the accuracies are of."""
    trained, untrained = results["trained"], results["untrained"]
    if "knn" not in trained:
        return (
            f"The features use {trained['rankme']:.0f} directions (RankMe), those of the untrained "
            f"encoder {untrained['rankme']:.0f}. Without labels, nothing tells for sure whether "
            "they are better: look at the neighbors."
        )
    now, before, pixels = (results[name]["knn"] for name in ("trained", "untrained", "raw pixels"))
    # Two standard errors of the difference, as if the two were judged on different images.
    chance = 2 * math.sqrt((now * (1 - now) + before * (1 - before)) / judged)
    if now <= before:
        verdict, remark = "The encoder did not get better", ""
    elif now - before <= chance:
        verdict = "The encoder hardly got better"
        remark = f" With {judged} images to judge by, {100 * chance:.1f} points may be chance."
    else:
        verdict, remark = "The encoder learned", ""
    return (
        f"{verdict}: kNN {100 * now:.1f} % against {100 * before:.1f} % untrained (raw pixels "
        f"{100 * pixels:.1f} %).{remark}"
    )
