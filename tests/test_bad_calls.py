"""Every public callable with arguments that are wrong: it says which, or gives the right answer.

The list of callables is `__all__` of every package, and what is wrong follows from the annotations;
the only table is `CALLS`, one good call of each, and what is forgotten there fails.
"""

import functools
import importlib
import inspect
import tarfile
import types
import typing

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import keras_ssl
from keras_ssl import (
    callbacks,
    data,
    duality,
    evaluation,
    finetuning,
    losses,
    models,
)
from tests.catalog import module_names
from tests.conftest import tiny_encoder

PACKAGES = [
    module for module in map(importlib.import_module, module_names()) if hasattr(module, "__all__")
]


def _is_result(thing):
    """What is returned, raised or a type alone, and never called by a user with values."""
    return isinstance(thing, types.GenericAlias) or (
        inspect.isclass(thing)
        and (issubclass(thing, (BaseException, Warning)) or hasattr(thing, "_fields"))
    )


PUBLIC = {
    f"{package.__name__.removeprefix('keras_ssl.')}.{name}": getattr(package, name)
    for package in PACKAGES
    for name in package.__all__
    if callable(getattr(package, name)) and not _is_result(getattr(package, name))
}
# The commands, whose home is the package itself.
PUBLIC |= {f"keras_ssl.{name}": getattr(keras_ssl, name) for name in keras_ssl._COMMANDS}


@functools.cache
def _images():
    pixels = np.random.RandomState(0).randint(0, 256, (24, 8, 8, 1)).astype("uint8")
    return data.from_arrays(pixels, np.arange(24) % 3)


@functools.cache
def _features(dimensions=4):
    values = np.random.RandomState(0).normal(size=(24, dimensions)).astype("float32")
    return evaluation.Features(values, np.arange(24) % 3)


K = np.random.RandomState(0).normal(size=(6, 4)).astype("float32")
PIXELS = np.random.RandomState(0).uniform(size=(4, 8, 8, 3)).astype("float32")


def _photos(folder):
    for i in range(2):
        Image.fromarray(np.full((4, 4, 3), 40 * i, "uint8")).save(folder / f"{i}.png")
    return folder


def _manifest(folder):
    _photos(folder)
    (folder / "photos.csv").write_text("path\n0.png\n1.png\n")
    return folder / "photos.csv"


def _tfrecord(folder):
    _photos(folder)
    with tf.io.TFRecordWriter(str(folder / "a.tfrecord")) as writer:
        for i in range(2):
            picture = tf.train.BytesList(value=[(folder / f"{i}.png").read_bytes()])
            features = tf.train.Features(feature={"image": tf.train.Feature(bytes_list=picture)})
            writer.write(tf.train.Example(features=features).SerializeToString())
    return folder / "a.tfrecord"


def _tar(folder):
    _photos(folder)
    with tarfile.open(folder / "a.tar", "w") as tar:
        for i in range(2):
            tar.add(folder / f"{i}.png", f"{i}.png")
    return folder / "a.tar"


@functools.cache
def _encoder():
    return tiny_encoder()


@functools.cache
def _classifier():
    return finetuning.build_classifier(_encoder(), ["0", "1", "2"])


# A good call of these trains for minutes: tests/commands and tests/test_cli.py have small ones.
LONG = (
    "keras_ssl.pretrain",
    "keras_ssl.study",
    "keras_ssl.finetune",
    "finetuning.compare",
    "finetuning.fit_classifier",
    "encoders.resnet34",
    "encoders.resnet50",
    "encoders.vit_small",
)

# One good call of each, by the arguments that it needs.
CALLS = {
    "callbacks.CollapseDoctor": lambda tmp: dict(
        inspector=callbacks.EmbeddingInspector(_images(), data.weak())
    ),
    "callbacks.EmbeddingInspector": lambda tmp: dict(images=_images(), policy=data.weak(), every=2),
    "callbacks.EpochCheckpoint": lambda tmp: dict(folder=tmp, minutes=1.0),
    "callbacks.EvaluationCallback": lambda tmp: dict(train=_images()),
    "callbacks.checkpoints": lambda tmp: dict(folder=tmp),
    "callbacks.epochs_done": lambda tmp: dict(checkpoint="epoch-00001.keras"),
    "callbacks.latest_checkpoint": lambda tmp: dict(folder=tmp),
    "callbacks.position": lambda tmp: dict(checkpoint="epoch-00001.keras"),
    "keras_ssl.embed": lambda tmp: dict(
        encoder=_encoder(), images=_photos(tmp), out=tmp / "out.npz"
    ),
    "keras_ssl.neighbors": lambda tmp: dict(
        embeddings=_encoder(), images=_photos(tmp), out=tmp.parent / f"{tmp.name}-out"
    ),
    "keras_ssl.evaluate": lambda tmp: dict(encoder=_encoder(), images="digits", smoke=True),
    "keras_ssl.export": lambda tmp: dict(encoder=_encoder(), out=tmp / "out"),
    "data.Compose": lambda tmp: dict(augmentations=[data.RandomFlip()]),
    "data.RandomResizedCrop": lambda tmp: dict(size=(4, 4)),
    "data.TwoViews": lambda tmp: dict(view_1=data.RandomFlip()),
    "data.Views": lambda tmp: dict(views=[data.RandomFlip()] * 3),
    "data.multi_crop": lambda tmp: dict(size=(8, 8)),
    "data.fingerprint": lambda tmp: dict(images=_images()),
    "data.from_arrays": lambda tmp: dict(images=PIXELS),
    "data.hold_out": lambda tmp: dict(splits=data.Splits(_images(), None)),
    "data.load": lambda tmp: dict(source="digits"),
    "data.policy": lambda tmp: dict(name="weak"),
    "data.policy_for": lambda tmp: dict(image_shape=(8, 8, 1)),
    "data.split": lambda tmp: dict(images=_images()),
    "data.to_unit_floats": lambda tmp: dict(images=PIXELS),
    "data.functions_for": lambda tmp: dict(images=np.zeros((2, 8, 8, 1), "float32")),
    "data.make_batches": lambda tmp: dict(images=_images(), batch_size=8),
    "data.make_views": lambda tmp: dict(images=_images(), policy=data.weak(), batch_size=8),
    "data.view_grid": lambda tmp: dict(
        images=PIXELS, policy=data.weak(), path=tmp / "views.png", count=2, draws=1
    ),
    **{
        f"duality.{name}": lambda tmp: dict(dimensions=4)
        for name in duality.__all__
        if inspect.isclass(getattr(duality, name)) and not _is_result(getattr(duality, name))
    },
    **{
        f"duality.{name}": lambda tmp: dict(k=K)
        for name in duality.__all__
        if "k" in inspect.signature(getattr(duality, name)).parameters
    },
    "encoders.anchored": lambda tmp: dict(encoder=_encoder()),
    "encoders.as_encoder": lambda tmp: dict(model=_encoder()),
    "encoders.build_encoder": lambda tmp: dict(name="resnet8", input_shape=(8, 8, 1)),
    "encoders.check_encoder": lambda tmp: dict(name="resnet8"),
    "encoders.check_images": lambda tmp: dict(encoder=_encoder(), shape=(None, 8, 8, 1)),
    "encoders.check_representations": lambda tmp: dict(encoder=_encoder(), shape=(None, 16)),
    "encoders.describe_range": lambda tmp: dict(encoder=_encoder()),
    "encoders.find_range": lambda tmp: dict(model=_encoder(), image_shape=(8, 8, 1)),
    "encoders.load_encoder": lambda tmp: dict(source=_encoder()),
    "encoders.pooled": lambda tmp: dict(features=PIXELS),
    "encoders.resnet": lambda tmp: dict(input_shape=(8, 8, 1), blocks=(1,), width=4),
    "encoders.describe_training": lambda tmp: dict(encoder=_encoder()),
    "encoders.find_blocks": lambda tmp: dict(encoder=_encoder()),
    "encoders.layer_factors": lambda tmp: dict(encoder=_encoder(), decay=0.5),
    "encoders.merged_encoder": lambda tmp: dict(encoder=_encoder()),
    "encoders.plain_encoder": lambda tmp: dict(encoder=_encoder()),
    "encoders.prepare_training": lambda tmp: dict(encoder=_encoder()),
    "encoders.restore_training": lambda tmp: dict(encoder=_encoder(), description={}),
    "encoders.vit": lambda tmp: dict(input_shape=(8, 8, 1), width=4, blocks=1, heads=2),
    "encoders.vit_small": lambda tmp: dict(input_shape=(8, 8, 1), patch_size=8),
    "encoders.vit_tiny": lambda tmp: dict(input_shape=(8, 8, 1), patch_size=8),
    "optimizers.scale_learning_rates": lambda tmp: dict(
        optimizer=keras.optimizers.SGD(), factors=[]
    ),
    "encoders.trust": lambda tmp: dict(encoder=_encoder()),
    "data.from_folder": lambda tmp: dict(path=_photos(tmp), image_size=4),
    "data.from_manifest": lambda tmp: dict(path=_manifest(tmp), image_size=4),
    "data.from_tfrecords": lambda tmp: dict(paths=_tfrecord(tmp), image_size=4),
    "data.from_webdataset": lambda tmp: dict(paths=_tar(tmp), image_size=4),
    "duality.dimension_norm_profile_bounds": lambda tmp: dict(samples=4, dimensions=3),
    "duality.doubly_normalized_difference": lambda tmp: dict(samples=4, dimensions=3),
    "evaluation.alignment": lambda tmp: dict(features_1=K, features_2=K),
    "evaluation.alpha_req": lambda tmp: dict(features=_features(32).values),
    "evaluation.cka_matrix": lambda tmp: dict(encoders={"a": _encoder()}, images=_images()),
    "evaluation.draw_cka": lambda tmp: dict(
        cka=evaluation.CKA(("a", "b"), np.eye(2)), path=tmp / "cka.png"
    ),
    "evaluation.linear_cka": lambda tmp: dict(features_1=K, features_2=K),
    "evaluation.extract": lambda tmp: dict(encoder=_encoder(), images=_images()),
    "evaluation.extract_views": lambda tmp: dict(
        encoder=_encoder(), images=_images(), policy=data.weak(), count=2
    ),
    "evaluation.judge": lambda tmp: dict(encoder=_encoder(), train=_images()),
    "evaluation.judge_raw_pixels": lambda tmp: dict(train=_images()),
    "evaluation.judge_beside_baselines": lambda tmp: dict(encoder=_encoder(), train=_images()),
    "evaluation.knn_accuracy": lambda tmp: dict(train=_features(), test=_features()),
    "evaluation.knn_grid": lambda tmp: dict(train=_features(), test=_features()),
    "evaluation.lidar": lambda tmp: dict(features=np.stack([K, K + 0.1], axis=1)),
    "evaluation.linear_accuracy": lambda tmp: dict(train=_features(), test=_features()),
    "evaluation.rankme": lambda tmp: dict(features=K),
    "evaluation.raw_pixels": lambda tmp: dict(image_shape=(8, 8, 1)),
    "evaluation.uniformity": lambda tmp: dict(features=K),
    "evaluation.untrained": lambda tmp: dict(encoder=_encoder()),
    "keras_ssl.finetune": lambda tmp: dict(
        encoder=_encoder(),
        images=data.Splits(_images(), _images()),
        out=tmp / "finetuned",
        labels=[1.0],
        seeds=1,
        steps=1,
        baselines=False,
    ),
    "finetuning.accuracy": lambda tmp: dict(classifier=_classifier(), images=_images()),
    "finetuning.build_classifier": lambda tmp: dict(encoder=_encoder(), class_names=["a", "b"]),
    "finetuning.compare": lambda tmp: dict(
        encoder=_encoder(),
        train=_images(),
        test=_images(),
        folder=tmp / "finetuned",
        labels=[1.0],
        seeds=1,
        steps=1,
        baselines=False,
    ),
    "finetuning.fit_classifier": lambda tmp: dict(
        classifier=_classifier(), images=_images(), steps=1
    ),
    "finetuning.label_subset": lambda tmp: dict(labels=np.arange(24) % 3, fraction=0.5),
    "finetuning.mean_and_error": lambda tmp: dict(values=[0.5, 0.6]),
    "finetuning.Comparison": lambda tmp: dict(rows={}, classifier=tmp / "classifier.keras"),
    "inspection.Sample": lambda tmp: dict(images=_images(), policy=data.weak(), count=8),
    "layers.GramAnchor": lambda tmp: dict(encoder=_encoder()),
    "layers.MovingAverage": lambda tmp: dict(student=_encoder()),
    "layers.OnlineProbe": lambda tmp: dict(num_classes=3),
    "layers.Projector": lambda tmp: dict(widths="8-4"),
    **{
        f"models.{name}": lambda tmp: dict(encoder=_encoder(), projector="8-4")
        for name in models.__all__
        if name != "JointEmbeddingModel"
    },
    "models.Distillation": lambda tmp: dict(encoder=_encoder(), teacher=_encoder()),
    "models.JointEmbeddingModel": lambda tmp: dict(
        encoder=_encoder(), projector="8-4", criterion=losses.VICRegLoss()
    ),
    "optimizers.cosine_momentum": lambda tmp: dict(initial_momentum=0.99, steps=10),
    "optimizers.scaled_learning_rate": lambda tmp: dict(base_learning_rate=0.3, batch_size=256),
    "optimizers.warmup_cosine": lambda tmp: dict(
        base_learning_rate=0.3, batch_size=256, steps_per_epoch=4, epochs=20
    ),
    "retrieval.Index": lambda tmp: dict(features=K),
    "retrieval.embed_images": lambda tmp: dict(
        encoder=_encoder(), images=_images(), out=tmp / "embeddings.npz", overwrite=True
    ),
    "retrieval.find_threshold": lambda tmp: dict(similarities=K[:, 0]),
    "retrieval.open_images": lambda tmp: dict(source=_photos(tmp), encoder=_encoder()),
    "retrieval.read_embeddings": lambda tmp: dict(path=tmp / "embeddings.npz"),
    "retrieval.write_embeddings": lambda tmp: dict(
        path=tmp / "embeddings.npz", paths=list("abcdef"), blocks=[K], width=4
    ),
    "runs.MetricsLog": lambda tmp: dict(path=tmp / "metrics.csv"),
    "exporting.in_float32": lambda tmp: dict(encoder=_encoder()),
    "exporting.load_safetensors": lambda tmp: dict(folder=tmp),
    "exporting.write_folder": lambda tmp: dict(
        encoder=_encoder(),
        out=tmp / "out",
        format="saved_model",
        images=PIXELS[..., :1],
        described="4 images",
    ),
    "runs.RunFolder": lambda tmp: dict(path=tmp / "run"),
    "runs.draw_curves": lambda tmp: dict(metrics=tmp / "metrics.csv", picture=tmp / "a.png"),
    "runs.read_metrics": lambda tmp: dict(path=tmp / "metrics.csv"),
    "runs.duration": lambda tmp: dict(seconds=3.0),
    "studies.run_with_workers": lambda tmp: dict(command=["true"], count=1, folder=tmp),
}

# What takes nothing that could be wrong, or nothing but a text.
NOTHING_TO_GET_WRONG = {
    "encoders.parse_range",
    "runs.scaling_of",
    "runs.size_of",
    "runs.stage",
    "losses.on_shards",
    "evaluation.table",
}
# Tested for themselves: what needs replicas, a run that was looked at, or a study; what is made by
# the library alone, or needs a package that is not installed; and the pieces of criteria, which
# check their embeddings before.
TESTED_ELSEWHERE = (
    *("distribution.", "inspection.", "studies.", "data.ImageSet", "losses.gram."),
    *("data.Stream", "data.from_huggingface"),
    *("conventions.", "hypermodels.", "keras_ssl.report", "recipes.", "spaces."),
)


def _parameters(thing):
    call = thing.__init__ if inspect.isclass(thing) else thing
    try:
        signature = inspect.signature(call, eval_str=True)  # Some modules keep them as text.
    except NameError:  # A data class that inherits from one of another module.
        signature = inspect.signature(call)
    return list(signature.parameters.values())[inspect.isclass(thing) :]


def _call(name, tmp_path):
    return CALLS.get(name, lambda tmp: {})(tmp_path)


def _numbers():
    """(callable, argument, kind, whether it may be None) of every argument that is a number."""
    for name, thing in PUBLIC.items():
        if name.startswith(TESTED_ELSEWHERE):
            continue
        for parameter in _parameters(thing):
            kinds = (parameter.annotation,)
            if isinstance(parameter.annotation, types.UnionType):
                kinds = typing.get_args(parameter.annotation)
            for kind in (k for k in (int, float) if k in kinds):
                yield name, parameter.name, kind, type(None) in kinds


def test_every_public_callable_has_a_call():
    variable = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    needing = {
        name
        for name, thing in PUBLIC.items()
        if any(p.default is p.empty and p.kind not in variable for p in _parameters(thing))
    }
    needing = {name for name in needing if not name.startswith(TESTED_ELSEWHERE)}
    assert needing - set(CALLS) == NOTHING_TO_GET_WRONG & needing


WRONG = {
    int: ["3", 1.5, float("nan"), [1], 1j],
    float: ["x", float("nan"), [1.0], 1j],
}


# Those whose call with a right number takes long.
SLOW_CALLS = ("evaluation.", "encoders.", "exporting.", "keras_ssl.", "data.from_tfrecords")


def _marked(case):
    return pytest.param(*case, marks=pytest.mark.long if case[0].startswith(SLOW_CALLS) else ())


@pytest.mark.parametrize(
    ("name", "argument", "kind", "is_optional"), [_marked(case) for case in _numbers()]
)
def test_numbers(name, argument, kind, is_optional, tmp_path):
    thing = PUBLIC[name]
    call = _call(name, tmp_path)
    for wrong in [*WRONG[kind], *([] if is_optional else [None])]:
        with pytest.raises((ValueError, TypeError)) as error:
            thing(**{**call, argument: wrong})
        assert argument in str(error.value), wrong
    if name in LONG:
        return
    value = call.get(argument, inspect.signature(thing).parameters[argument].default)
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        thing(**{**call, argument: (np.int64 if kind is int else np.float32)(value)})


# Arrays by the argument's name: of which callables, and what is wrong of each.
MATRIX_ARGUMENTS = ("k", "features", "features_1", "features_2")
_NAN = np.where(np.arange(24).reshape(6, 4) == 5, np.nan, K)
WRONG_MATRICES = {
    "vector": K[0],
    "text": np.full((6, 4), "x"),
    "objects": np.full((6, 4), None),
    "complex": K.astype("complex64"),
    "ragged": [[1.0], [1.0, 2.0]],
    "none": None,
    "empty": K[:0],
    "NaN": _NAN,
}


def _matrices():
    for name, thing in PUBLIC.items():
        for parameter in _parameters(thing):
            if parameter.name in MATRIX_ARGUMENTS and name.startswith(("duality.", "evaluation.")):
                yield name, parameter.name


@pytest.mark.parametrize("kind", WRONG_MATRICES)
@pytest.mark.parametrize(("name", "argument"), list(_matrices()))
def test_matrices(name, argument, kind, tmp_path):
    """Refused; but NaN may come out as NaN, of what is differentiable."""
    call = {**_call(name, tmp_path), argument: WRONG_MATRICES[kind]}
    try:
        result = PUBLIC[name](**call)
    except (ValueError, TypeError) as error:
        assert argument in str(error)
    else:
        values = np.concatenate([np.ravel(x) for x in tf.nest.flatten(result)])
        assert kind == "NaN" and np.isnan(values).any()


@pytest.mark.parametrize("kind", WRONG_MATRICES)
@pytest.mark.parametrize("name", [n for n in losses.__all__ if n.endswith("Loss")])
def test_criteria(name, kind):
    """Refused; but NaN comes out as NaN, for a run to notice."""
    wrong = WRONG_MATRICES[kind]
    with pytest.raises(ValueError, match="`z_1`.*floats"):
        getattr(losses, name)()(np.ones((6, 4), int), np.ones((6, 4), int))
    try:
        loss = getattr(losses, name)()(wrong, wrong)
    except (ValueError, TypeError) as error:
        assert "z_1" in str(error)
    else:
        assert kind == "NaN" and np.isnan(loss)


@pytest.mark.parametrize("kind", WRONG_MATRICES)
@pytest.mark.parametrize(
    "name",
    [
        n
        for n in PUBLIC
        if inspect.isclass(PUBLIC[n]) and issubclass(PUBLIC[n], keras.metrics.Metric)
    ],
)
def test_metrics(name, kind):
    metric = PUBLIC[name](dimensions=4)
    try:
        metric.update_state(WRONG_MATRICES[kind])
    except (ValueError, TypeError) as error:
        assert "mbeddings" in str(error)
    else:
        assert kind == "NaN"


@pytest.mark.parametrize(
    "wrong", [None, "photos", 3, np.zeros((4, 8, 8, 1)), tf.data.Dataset.range(3)], ids=repr
)
def test_what_is_no_image_set(wrong, tmp_path):
    for name, thing in PUBLIC.items():
        if name.startswith(TESTED_ELSEWHERE):
            continue
        for parameter in _parameters(thing):
            # `view_grid` takes arrays as well, and what takes a path takes any source of images.
            annotation = str(parameter.annotation)
            is_set = "ImageSet" in annotation and "PathLike" not in annotation
            if not is_set or (wrong is None and "None" in str(parameter.annotation)):
                continue
            with pytest.raises(TypeError, match=f"`{parameter.name}` must be"):
                thing(**{**_call(name, tmp_path), parameter.name: wrong})


@pytest.mark.parametrize("wrong", [None, "weak", 3, data.RandomFlip()], ids=repr)
def test_what_is_no_policy(wrong, tmp_path):
    seen = set()
    for name, thing in PUBLIC.items():
        if name.startswith(TESTED_ELSEWHERE):
            continue
        for parameter in _parameters(thing):
            kinds = typing.get_args(parameter.annotation) or (parameter.annotation,)
            if data.Views not in kinds or (wrong is None and type(None) in kinds):
                continue
            seen.add(name)
            with pytest.raises(TypeError, match=f"`{parameter.name}` must be"):
                thing(**{**_call(name, tmp_path), parameter.name: wrong})
    assert {"data.make_views", "data.view_grid"} <= seen
