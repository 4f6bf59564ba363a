import dataclasses
import inspect

import keras
import keras_tuner
import numpy as np
import pytest

from keras_ssl import (
    callbacks,
    data,
    encoders,
    evaluation,
    hypermodels,
    models,
    recipes,
    spaces,
)
from keras_ssl.studies.identity import describe
from tests.conftest import tiny_encoder

pytestmark = pytest.mark.usefixtures("eagerly")

# Every trial traces its policy, so this is a quick one.
SMALL = dataclasses.replace(
    recipes.SMALL["simclr"], epochs=2, batch_size=8, projector="4", policy="tests>quick_policy"
)


def build_tiny(hp, image_shape):
    layers = keras.layers
    return keras.Sequential([layers.Input(image_shape), layers.Flatten(), layers.Dense(16)])


@pytest.fixture
def held_out(images):
    train, test = data.split(images, 0.25)
    return data.hold_out(data.Splits(train, test), 0.3)


def tiny(held_out, recipe=SMALL, space=spaces.temperature, **kwargs):
    return hypermodels.PretrainingHyperModel(recipe, held_out, space, build_tiny, **kwargs)


# The settings by which every method is tuned, copied from the code before criteria had ranges.
GENERAL = {
    "base learning rate": (7.5e-4, 0.048, "log", 6e-3),
    "weight decay": (1e-7, 1e-2, "log", 1e-4),
    "projector width": ([64, 128, 256, 512, 1024], 256),
    "augmentation strength": (0.0, 1.8, "linear", 1.0),
}


def _weights(invariance, covariance):
    return {
        "invariance weight": (1.0, 50.0, "log", invariance),
        "covariance weight": (0.1, 25.0, "log", covariance),
    }


def _temperature(default):
    return {"temperature": (0.02, 1.0, "log", default)}


SEARCHED = {
    **dict.fromkeys(("simclr", "simclr-sq", "simclr-abs"), _temperature(0.15)),
    **dict.fromkeys(("dcl", "dcl-sq", "dcl-abs"), _temperature(0.1)),
    "spectral": {"squared radius": (0.1, 30.0, "log", 1.0)},
    "vicreg-ctr": {**_weights(1.0, 1.0), **_temperature(0.15)},
    "vicreg": _weights(25.0, 1.0),
    "vicreg-exp": {**_weights(4.0, 2.0), **_temperature(0.1)},
    "vicreg-exp-table-s6": {**_weights(1.0, 2.0), **_temperature(0.1)},
    "barlow-twins": {"redundancy weight": (5e-4, 5e-2, "log", 0.0051)},
    "tcr": {
        "alignment weight": (3.0, 300.0, "log", 30.0),
        "distortion": (0.05, 1.0, "log", 0.2),
    },
}


def _described(parameter):
    if isinstance(parameter, keras_tuner.engine.hyperparameters.Choice):
        return parameter.values, parameter.default
    assert parameter.step is None
    return (parameter.min_value, parameter.max_value, parameter.sampling, parameter.default)


class TestSpaces:
    @pytest.mark.parametrize("name", SEARCHED)
    def test_what_is_searched_is_what_was(self, name):
        """Names, order, ranges, scales and defaults are as before."""
        hp = keras_tuner.HyperParameters()
        spaces.all_settings(hp, recipes.SMALL[name])
        found = [(parameter.name, _described(parameter)) for parameter in hp.space]
        assert found == list({**SEARCHED[name], **GENERAL}.items())

    @pytest.mark.parametrize("name", recipes.SMALL)
    def test_every_method_of_ours_has_something_to_search(self, name):
        has_no_numbers = name in ("byol", "simsiam", "mmcr")
        assert has_no_numbers != bool(spaces.search_ranges(recipes.SMALL[name]))

    @pytest.mark.parametrize("name", [*recipes.SMALL, *recipes.PUBLISHED])
    def test_defaults_are_the_recipe(self, name):
        recipe = {**recipes.SMALL, **recipes.PUBLISHED}[name]
        hp = keras_tuner.HyperParameters()
        found = spaces.all_settings(hp, recipe)
        own = inspect.signature(recipe.model.default_criterion).parameters
        changed = {key: own[key].default for key in found.criterion} | dict(recipe.criterion)
        assert found == dataclasses.replace(recipe, criterion=changed)
        # Names are for people, and rates are searched by their logarithm.
        kinds = {parameter.name: parameter for parameter in hp.space}
        assert not any("_" in name for name in kinds)
        assert {"base learning rate", "weight decay", "augmentation strength"} <= set(kinds)
        assert kinds["base learning rate"].sampling == kinds["weight decay"].sampling == "log"

    @pytest.mark.parametrize(
        "name",
        [pytest.param(n, marks=() if n in SEARCHED else pytest.mark.long) for n in recipes.SMALL],
    )
    def test_every_point_can_be_built(self, name):
        recipe = recipes.SMALL[name]
        hp = keras_tuner.HyperParameters()
        spaces.all_settings(hp, recipe)
        for seed in range(5):
            hp.values = {
                parameter.name: parameter.random_sample(1000 * seed + i)
                for i, parameter in enumerate(hp.space)
            }
            found = spaces.all_settings(hp, recipe)
            assert found.build_model(tiny_encoder()).criterion.get_config()
            assert found.build_policy() is not None
            assert recipes.Recipe.from_config(found.get_config()) == found

    @pytest.mark.parametrize("name", recipes.PUBLISHED)
    def test_published_constants_are_inside(self, name):
        """The space around a method's small recipe holds those of all its published recipes."""
        published = recipes.PUBLISHED[name]
        small = next(r for r in recipes.SMALL.values() if r.model is published.model)
        hp = keras_tuner.HyperParameters()
        spaces.criterion_settings(hp, small)
        for parameter in hp.space:
            argument = parameter.name.replace(" ", "_")
            value = spaces.criterion_default(published, argument)
            assert parameter.min_value <= value <= parameter.max_value

    def test_the_momentum_of_a_teacher(self):
        hp = keras_tuner.HyperParameters()
        recipe = recipes.SMALL["byol"]
        assert spaces.teacher_step(hp, recipe) == recipe
        hp.values = {"teacher step": 0.25}
        found = spaces.teacher_step(hp, recipe)
        assert found.arguments == {"hidden": "1024", "momentum": 0.75}
        assert spaces.teacher_step(hp, recipes.SMALL["simsiam"]) is recipes.SMALL["simsiam"]

    def test_widths(self):
        hp = keras_tuner.HyperParameters()
        hp.values = {"projector width": 512, "embedding dimension": 64}
        space = spaces.combine(spaces.projector_width, spaces.embedding_dimension)
        recipe = recipes.SMALL["vicreg"]
        assert space(hp, recipe).projector == "512-512-64"
        uneven = dataclasses.replace(recipe, projector="512-128-64")
        assert spaces.projector_width(keras_tuner.HyperParameters(), uneven) == uneven
        hp.values = {"projector width": 1024}
        assert spaces.projector_width(hp, uneven).projector == "1024-256-64"
        alone = dataclasses.replace(recipe, projector="64")
        hp = keras_tuner.HyperParameters()
        assert spaces.projector_width(hp, alone) == alone and not hp.space

    def test_a_linear_setting(self):
        hp = keras_tuner.HyperParameters()
        space = spaces.criterion_setting("temperature", 0.1, 0.3, log=False, label="tau")
        space(hp, SMALL)
        assert (hp.space[0].name, hp.space[0].sampling) == ("tau", "linear")

    def test_a_setting_that_the_criterion_has_not(self):
        space = spaces.criterion_setting("covariance_weight", 1, 2)
        with pytest.raises(ValueError, match="`argument` must be one of .*temperature"):
            space(keras_tuner.HyperParameters(), SMALL)

    @pytest.mark.parametrize(
        ("make", "error", "message"),
        [
            (lambda: spaces.combine(1), TypeError, "`spaces` must be callable.*1"),
            (lambda: spaces.criterion_setting(3, 1, 2), TypeError, "`argument`.*name.*3"),
            (lambda: spaces.criterion_setting("a", 0, 2), ValueError, "`low` must be a pos"),
            (lambda: spaces.criterion_setting("a", 2, 1), ValueError, "`high` must be above"),
            (lambda: spaces.criterion_setting("a", 2), ValueError, "`high` must be above.*None"),
            (lambda: spaces.criterion_setting("a", high=2), ValueError, "`low` must be a pos"),
            (
                lambda: spaces.log_float(keras_tuner.HyperParameters(), "a", -1, 1, 0.5),
                ValueError,
                "`low` must be a positive",
            ),
            (
                lambda: spaces.around(keras_tuner.HyperParameters(), "a", 0.0),
                ValueError,
                "`a` must be a positive",
            ),
        ],
        ids=["combine", "argument", "log", "range", "no_high", "no_low", "log_float", "around"],
    )
    def test_bad_input(self, make, error, message):
        with pytest.raises(error, match=message):
            make()


class TestHoldOut:
    def test_parts_are_disjoint_and_stratified(self, images):
        train, test = data.split(images, 0.25)
        held = data.hold_out(data.Splits(train, test), 0.25)
        assert [len(part) for part in held] == [27, 9, 12]
        assert np.bincount(held.validation.labels()).tolist() == [3, 3, 3]
        pixels = [set(_pixels(part)) for part in held]
        assert len(pixels[0] | pixels[1] | pixels[2]) == 48
        again = data.hold_out(data.Splits(train, test), 0.25)
        assert _pixels(again.validation) == _pixels(held.validation)
        other = data.hold_out(data.Splits(train, test), 0.25, seed=1)
        assert _pixels(other.validation) != _pixels(held.validation)

    def test_images_without_labels(self, images):
        held = data.hold_out(data.Splits(images.without_labels(), None), 0.25)
        assert [len(part) for part in held[:2]] == [36, 12] and held.test is None
        assert not set(_pixels(held.train)) & set(_pixels(held.validation))

    def test_bad_input(self, images):
        for splits in (images, [images, None], (images,), None, "digits"):
            with pytest.raises(TypeError, match="must be what keras_ssl.data.load returns"):
                data.hold_out(splits)
        for splits in ((None, images), (images, "test")):
            with pytest.raises(TypeError, match="`splits` must hold two keras_ssl.data.ImageSet"):
                data.hold_out(splits)
        for seed in (-1, 0.5, "0", None):
            with pytest.raises(ValueError, match="`seed` must be a whole number from 0"):
                data.hold_out(data.Splits(images, None), seed=seed)

    @pytest.mark.parametrize("fraction", [0.0, 1.0, 0.01, -1, 2])
    def test_bad_fraction(self, images, fraction):
        with pytest.raises(ValueError, match="validation_fraction"):
            data.hold_out(data.Splits(images, None), fraction)

    def test_a_fraction_that_leaves_one_image(self):
        ten = data.from_arrays(np.zeros((10, 4, 4, 1)), labels=[0, 1] * 5)  # 8.5 become 9
        with pytest.raises(ValueError, match="at least 2 images in each part"):
            data.hold_out(data.Splits(ten, None), 0.85)


def _pixels(images):
    return [bytes(image) for batch, _ in images.batches(16) for image in batch.numpy()]


class TestHyperModel:
    def test_images_that_no_trial_could_use(self, images):
        paired = dataclasses.replace(images, groups=np.arange(48) // 8)
        with pytest.raises(ValueError, match="larger batches than there are groups.*6 groups"):
            tiny(data.HeldOut(paired, images, None))
        with pytest.raises(ValueError, match="test images with labels, or none"):
            tiny(data.HeldOut(images, images, images.without_labels()))

    def test_a_recipe_may_have_micro_batches(self, held_out):
        recipe = dataclasses.replace(SMALL, arguments={"micro_batch_size": 4})
        hp = keras_tuner.HyperParameters()
        assert tiny(held_out, recipe).build(hp).micro_batch_size == 4
        assert tiny(held_out, recipe, micro_batch_size=2).build(hp).micro_batch_size == 2

    def test_the_precision_outlives_a_cleared_session(self, held_out):
        before = describe(tiny(held_out), keras_tuner.HyperParameters())
        keras.config.set_dtype_policy("mixed_bfloat16")
        hypermodel = tiny(held_out)
        keras.backend.clear_session()
        model = hypermodel.build(keras_tuner.HyperParameters())
        assert model.dtype_policy.name == "mixed_bfloat16"
        after = describe(hypermodel, keras_tuner.HyperParameters())
        assert after == {**before, "precision": "mixed_bfloat16"}

    def test_figures_of_a_trial(self, held_out):
        hypermodel = tiny(held_out, measure=lambda model, images: {"N": len(images.validation)})
        assert hypermodel.objective == keras_tuner.Objective("val_knn", "max")
        hp = keras_tuner.HyperParameters()
        model = hypermodel.build(hp)
        assert model.built and model.optimizer.built and hp.values == {"temperature": 0.15}
        figures = hypermodel.fit(hp, model)
        assert {"loss", "alignment", "contrast", "val_knn", "val_linear", "N"} == set(figures)
        assert figures["N"] == len(held_out.validation)
        # Only the validation images were used to judge it.
        again = hypermodel.judge(model, held_out.validation, "val_")
        assert again == {name: figures[name] for name in ("val_knn", "val_linear")}

    def test_views_of_another_size(self, held_out):
        shapes = []

        def encoder(hp, shape):
            shapes.append(shape)
            return encoders.resnet8(shape, width=2)

        smaller = dataclasses.replace(SMALL, policy="tiny_gray", view_size=6)
        for recipe in (smaller, SMALL):
            arm = hypermodels.PretrainingHyperModel(recipe, held_out, spaces.fixed, encoder)
            assert arm.build(keras_tuner.HyperParameters()).built
        assert list(dict.fromkeys(shapes)) == [(None, None, 1), (8, 8, 1)]
        with pytest.raises(ValueError, match="`encoder` must take images of any size.*vit_tiny"):
            hypermodels.PretrainingHyperModel(smaller, held_out, encoder="vit_tiny")

    @pytest.mark.slow
    def test_trials_repeat_and_seeds_differ(self, held_out):
        hypermodel = tiny(held_out)
        losses = []
        for seed in (None, None, 7):
            hp = keras_tuner.HyperParameters()
            if seed is not None:
                hp.values["seed"] = seed
            losses.append(hypermodel.fit(hp, hypermodel.build(hp))["loss"])
        assert losses[0] == losses[1] != losses[2]

    @pytest.mark.long
    def test_the_probe_and_label_free_scores(self, held_out):
        hp = keras_tuner.HyperParameters()
        hypermodel = tiny(held_out, score="probe", label_free=True)
        figures = hypermodel.fit(hp, hypermodel.build(hp))
        assert 0 <= figures["val_probe"] <= 1 and "val_lidar" in figures
        features = evaluation.extract(hypermodel.build(hp).encoder, held_out.validation)
        assert features.values.shape == (len(held_out.validation), 16)

    @pytest.mark.long
    def test_no_label_is_needed(self, images):
        held = data.hold_out(data.Splits(images.without_labels(), None))
        hypermodel = tiny(held, score="rankme")
        hp = keras_tuner.HyperParameters()
        figures = hypermodel.fit(hp, hypermodel.build(hp))
        assert {"val_rankme", "val_lidar", "val_alpha_req", "val_uniformity"} <= set(figures)
        assert 1 <= figures["val_rankme"] <= 16

    def test_a_loss_that_is_not_a_number(self, held_out):
        hypermodel = tiny(held_out, dataclasses.replace(SMALL, base_learning_rate=1e30))
        hp = keras_tuner.HyperParameters()
        with pytest.raises(callbacks.NonFiniteLossError):
            hypermodel.fit(hp, hypermodel.build(hp))

    @pytest.mark.slow
    def test_labels_do_not_reach_the_encoder(self, held_out):
        """Without the labels of the images to train on, the loss is the same."""
        hp = keras_tuner.HyperParameters()
        wrong = held_out._replace(train=held_out.train.without_labels())
        losses = [
            tiny(held, score=score).fit(hp, tiny(held, score=score).build(hp))["loss"]
            for held, score in ((held_out, "knn"), (wrong, "rankme"))
        ]
        assert losses[0] == losses[1]

    @pytest.mark.slow
    def test_a_batch_size_that_is_searched(self, held_out):
        """An epoch has all images, whatever the batch size."""
        space = lambda hp, recipe: dataclasses.replace(  # noqa: E731
            recipe, batch_size=hp.Choice("batch size", [4, 12])
        )
        hypermodel = tiny(held_out, space=space)
        for size, steps in ((4, 6), (12, 2)):
            hp = keras_tuner.HyperParameters()
            hp.values = {"batch size": size}
            model = hypermodel.build(hp)
            hypermodel.fit(hp, model, epochs=1)
            assert int(model.optimizer.iterations) == steps

    def test_a_space_that_searches_nothing_is_told(self, held_out):
        with pytest.warns(UserWarning, match="`space` has no hyperparameter: all trials are the"):
            tiny(held_out, space=lambda hp, recipe: recipe)
        tiny(held_out, space=spaces.fixed)  # This was asked for.
        # The encoder may have the only hyperparameters.
        hypermodels.PretrainingHyperModel(
            SMALL,
            held_out,
            lambda hp, recipe: recipe,
            lambda hp, shape: tiny_encoder() if hp.Boolean("wide") else tiny_encoder(),
        )

    def test_bad_input(self, held_out):
        with pytest.raises(TypeError, match="`space` must return a keras_ssl.recipes.Recipe.*dict"):
            tiny(held_out, space=lambda hp, recipe: {})
        with pytest.raises(ValueError, match="`encoder` must be one of .*resnet99"):
            hypermodels.PretrainingHyperModel(SMALL, held_out, encoder="resnet99")
        with pytest.raises(TypeError, match="`recipe` must be a keras_ssl.recipes.Recipe"):
            tiny(held_out, "simclr")
        with pytest.raises(TypeError, match="`images` must be what .*hold_out returns"):
            tiny(data.Splits(held_out.train, None))
        with pytest.raises(ValueError, match="`policy` must be one of"):
            tiny(held_out, dataclasses.replace(SMALL, policy="nothing"))
        with pytest.raises(ValueError, match="`score` must be one of"):
            tiny(held_out, score="loss")
        unlabeled = held_out._replace(train=held_out.train.without_labels())
        with pytest.raises(ValueError, match="must be 'rankme' or 'lidar' if there are no"):
            tiny(unlabeled)
        for name in ("epochs", "batch_size"):
            with pytest.raises(ValueError, match=f"`{name}` must be a whole number"):
                tiny(held_out, dataclasses.replace(SMALL, **{name: 0}))
        for name in ("encoder", "space", "measure"):
            with pytest.raises(TypeError, match=f"`{name}` must be callable.*5"):
                hypermodels.PretrainingHyperModel(SMALL, held_out, **{name: 5})
        for name, value in (("seed", 1.5), ("seed", -1), ("micro_batch_size", 0)):
            with pytest.raises(ValueError, match=f"`{name}` must be a whole number"):
                tiny(held_out, **{name: value})
        assert tiny(held_out, seed=np.int64(3)).seed == 3
        with pytest.raises(ValueError, match="larger batches than.*batch_size=64"):
            tiny(held_out, dataclasses.replace(SMALL, batch_size=64))


class TestTuners:
    """Keras-tuner's own tuners, as a user calls them."""

    def search(self, tuner_class, hypermodel, tmp_path, callbacks=(), **kwargs):
        tuner = tuner_class(
            hypermodel,
            hypermodel.objective,
            seed=1,
            directory=str(tmp_path),
            project_name="search",
            **kwargs,
        )
        tuner.search(verbose=0, callbacks=list(callbacks))
        trials = list(tuner.oracle.trials.values())
        assert [trial.message for trial in trials if trial.status != "COMPLETED"] == []
        return tuner, trials

    @pytest.mark.parametrize(
        "tuner_class",
        [
            pytest.param(keras_tuner.RandomSearch, marks=pytest.mark.long),
            pytest.param(keras_tuner.BayesianOptimization, marks=pytest.mark.slow),
        ],
    )
    def test_random_and_bayesian(self, held_out, tmp_path, tuner_class):
        extra = {"num_initial_points": 1} if "Bayes" in tuner_class.__name__ else {}
        hypermodel = tiny(held_out, dataclasses.replace(SMALL, epochs=1))
        tuner, trials = self.search(tuner_class, hypermodel, tmp_path, max_trials=2, **extra)
        assert len({trial.hyperparameters["temperature"] for trial in trials}) == 2
        (best,) = tuner.get_best_models(1)
        assert isinstance(best, models.SimCLR)
        score = hypermodel.judge(best, held_out.validation)["knn"]
        assert score == tuner.oracle.get_best_trials(1)[0].score

    @pytest.mark.slow
    def test_grid(self, held_out, tmp_path):
        hypermodel = tiny(
            held_out,
            dataclasses.replace(SMALL, epochs=1, projector="16-4"),
            lambda hp, recipe: dataclasses.replace(
                recipe, criterion={"temperature": hp.Choice("temperature", [0.1, 0.5])}
            ),
        )
        # With callbacks, which keras-tuner copies for each trial.
        evaluate = callbacks.EvaluationCallback(
            held_out.train, held_out.validation, policy=data.tiny_gray()
        )
        inspector = callbacks.EmbeddingInspector(
            held_out.train, data.tiny_gray(), tmp_path / "logs"
        )
        doctor = callbacks.CollapseDoctor(inspector)
        _, trials = self.search(
            keras_tuner.GridSearch, hypermodel, tmp_path, [evaluate, inspector, doctor]
        )
        assert all("val_lidar" in trial.metrics.metrics for trial in trials)
        assert [trial.hyperparameters["temperature"] for trial in trials] == [0.1, 0.5]

    @pytest.mark.slow
    def test_hyperband_goes_on_exactly_where_a_trial_stood(self, held_out, tmp_path):
        """A trial promoted after one epoch ends where one of two epochs ends."""
        hypermodel = tiny(held_out)
        tuner, trials = self.search(
            keras_tuner.Hyperband, hypermodel, tmp_path, max_epochs=2, factor=2
        )
        promoted = [t for t in trials if t.hyperparameters.values["tuner/initial_epoch"]]
        assert promoted
        hp = keras_tuner.HyperParameters()
        temperature = promoted[0].hyperparameters["temperature"]
        hp.values = {"temperature": temperature}
        keras.backend.clear_session()
        whole = hypermodel.fit(hp, hypermodel.build(hp))
        loss = promoted[0].metrics.get_last_value("loss")
        np.testing.assert_allclose(loss, whole["loss"], rtol=1e-6)
        assert promoted[0].score == whole["val_knn"]
