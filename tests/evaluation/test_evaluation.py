from unittest import mock

import keras
import numpy as np
import pytest
from sklearn.datasets import load_digits

from keras_ssl import callbacks, data, evaluation, models
from keras_ssl.evaluation import Features
from tests.conftest import tiny_encoder


def _features(n=60, seed=0, separation=3.0):
    rng = np.random.RandomState(seed)
    labels = np.arange(n) % 3
    values = rng.randn(n, 6) + separation * np.eye(6)[labels]
    return Features(values.astype("float32"), labels)


class TestKnn:
    def test_equals_a_written_out_vote(self):
        train, test = _features(separation=1.0), _features(30, 1, separation=1.0)
        grid = evaluation.knn_grid(train, test, [1, 7, 20], [0.07, 0.5])
        a = train.values / np.linalg.norm(train.values, axis=1, keepdims=True)
        b = test.values / np.linalg.norm(test.values, axis=1, keepdims=True)
        for (k, temperature), accuracy in grid.items():
            right = 0
            for x, label in zip(b, test.labels, strict=True):
                cosines = a @ x
                nearest = np.argsort(-cosines)[:k]
                votes = np.zeros(3)
                for i in nearest:
                    votes[train.labels[i]] += np.exp(cosines[i] / temperature)
                right += votes.argmax() == label
            assert accuracy == pytest.approx(right / 30), (k, temperature)

    def test_the_papers_grid(self):
        grid = evaluation.knn_grid(_features(), _features(30, 1))
        assert {k for k, _ in grid} == {1, 5, 10, 20, 50}  # there are fewer than 200
        assert {t for _, t in grid} == {0.05, 0.07, 0.1, 0.2, 0.5, 1.0}

    def test_scale_of_the_features_does_not_matter(self):
        train, test = _features(), _features(30, 1)
        scaled = Features(100 * train.values, train.labels)
        assert evaluation.knn_accuracy(train, test) == evaluation.knn_accuracy(scaled, test)

    def test_features_of_zeros_are_at_right_angles_to_all(self):
        """As an encoder gives them whose last ReLU is dead."""
        train = Features(np.array([[0.0, 0], [-1, 0], [1, 0]]), np.array([0, 1, 2]))
        queries = np.array([[-1, -5.0], [1, -5.0]])  # A cosine of 0.2 is more than one of 0.
        test = Features(queries, np.array([1, 2]))
        assert evaluation.knn_accuracy(train, test, 1) == 1
        # All are equally far from it, and each has one vote.
        zero = Features(np.zeros((1, 2)), np.array([0]))
        assert evaluation.knn_accuracy(train, zero, 3) == 1

    def test_half_precision(self):
        """Squares of large features are beyond the range of float16."""
        train, test = (Features(x.values * 50, x.labels) for x in (_features(), _features(30, 1)))
        halves = [Features(x.values.astype("float16"), x.labels) for x in (train, test)]
        assert evaluation.knn_accuracy(*halves) == evaluation.knn_accuracy(train, test) > 0.9

    def test_few_training_samples(self):
        train, test = _features(6), _features(9, 1)
        all_of_them = evaluation.knn_accuracy(train, test, neighbors=6)
        assert evaluation.knn_accuracy(train, test, neighbors=20) == all_of_them

    def test_a_temperature_at_which_every_weight_would_be_zero(self):
        train = Features(np.eye(2), np.array([0, 1]))
        test = Features(np.array([[0.6, 0.8]]), np.array([1]))
        assert evaluation.knn_accuracy(train, test, 2, temperature=1e-4) == 1

    @pytest.mark.parametrize(
        ("kwargs", "message"),
        [({"neighbors": 0}, "`neighbors`"), ({"temperature": 0.0}, "`temperatures`")],
    )
    def test_bad_arguments(self, kwargs, message):
        with pytest.raises(ValueError, match=message):
            evaluation.knn_accuracy(_features(), _features(), **kwargs)


class TestLinear:
    def test_separable_features_are_separated(self):
        assert evaluation.linear_accuracy(_features(separation=8), _features(30, 1, 8)) == 1.0

    def test_labels_without_features_are_chance(self):
        rng = np.random.RandomState(0)
        train = Features(rng.randn(300, 4), rng.randint(0, 3, 300))
        test = Features(rng.randn(3000, 4), rng.randint(0, 3, 3000))
        assert evaluation.linear_accuracy(train, test) == pytest.approx(1 / 3, abs=0.05)

    def test_bad_regularization(self):
        with pytest.raises(ValueError, match="`regularization`"):
            evaluation.linear_accuracy(_features(), _features(), regularization=0)


@pytest.mark.parametrize("judge", [evaluation.knn_accuracy, evaluation.linear_accuracy])
def test_labels_are_needed(judge):
    nameless = _features()._replace(labels=np.full(60, -1))
    with pytest.raises(ValueError, match="Labels are needed.*Received: features without labels"):
        judge(nameless, _features())


class TestRankMe:
    def test_by_hand(self):
        assert evaluation.rankme(np.eye(5)) == pytest.approx(5, rel=1e-4)
        assert evaluation.rankme(np.ones((9, 4))) == pytest.approx(1, rel=1e-4)
        # Singular values 3 and 1: p = 3/4, 1/4.
        p = np.array([0.75, 0.25])
        assert evaluation.rankme(np.diag([3.0, 1.0])) == pytest.approx(
            np.exp(-np.sum(p * np.log(p))), rel=1e-5
        )

    def test_scale_does_not_matter(self):
        x = np.random.RandomState(0).randn(50, 8)
        assert evaluation.rankme(x) == pytest.approx(evaluation.rankme(1e-4 * x), rel=1e-9)

    def test_zero(self):
        assert evaluation.rankme(np.zeros((4, 3))) == 1.0

    @pytest.mark.parametrize("features", [np.ones(3), np.full((3, 3), np.nan)])
    def test_bad_input(self, features):
        with pytest.raises(ValueError, match="`features` must be a matrix"):
            evaluation.rankme(features)


class TestJudge:
    def test_features_of_batches_of_any_size_use_one_graph(self, images):
        encoder = models.VICReg(tiny_encoder(), "8").encoder
        evaluation.extract(encoder, images, batch_size=20)
        evaluation.extract(encoder, images.spread(7), batch_size=20)
        assert encoder.predict_function.experimental_get_tracing_count() == 1

    def test_features_are_the_encoders_predictions_in_order(self, images):
        encoder = tiny_encoder()
        features = evaluation.extract(encoder, images, batch_size=7)
        pixels, labels = next(iter(images.batches(48)))
        np.testing.assert_allclose(features.values, encoder(pixels), atol=1e-5)
        np.testing.assert_array_equal(features.labels, labels)

    def test_raw_pixels(self, images):
        features = evaluation.extract(evaluation.raw_pixels(images.image_shape), images)
        pixels, _ = next(iter(images.batches(48)))
        np.testing.assert_array_equal(features.values, np.reshape(pixels, (48, -1)))

    def test_three_rows(self, images):
        train, test = data.split(images, 0.25)
        encoder = tiny_encoder()
        before = encoder.get_weights()
        rows = evaluation.judge_beside_baselines(encoder, train, test)
        for a, b in zip(before, encoder.get_weights(), strict=True):
            np.testing.assert_array_equal(a, b)
        assert rows["trained"] == evaluation.judge(encoder, train, test) != rows["untrained"]
        assert list(rows) == ["raw pixels", "untrained", "trained"]
        assert all(set(row) == {"knn", "linear", "rankme"} for row in rows.values())
        # The classes differ in brightness, so that even pixels tell them apart.
        assert rows["raw pixels"]["linear"] == 1.0

    def test_without_labels_there_is_the_rank(self, images):
        assert set(evaluation.judge(tiny_encoder(), images.without_labels())) == {"rankme"}

    def test_only_the_accuracies_are_computed_where_nothing_else_is_wanted(
        self, images, monkeypatch
    ):
        monkeypatch.setattr(evaluation.judgment, "rankme", None)  # Calling it fails.
        train, test = data.split(images, 0.25)
        policy = data.tiny_gray()
        figures = evaluation.judge(tiny_encoder(), train, test, policy=policy, label_free=False)
        assert set(figures) == {"knn", "linear"}
        with pytest.raises(ValueError, match="`test` must be given where `label_free` is False"):
            evaluation.judge(tiny_encoder(), train, label_free=False)

    def test_table(self):
        text = evaluation.table({"a": {"knn": 0.5, "rankme": 3.25}, "bb": {"knn": 1.0}})
        assert text.splitlines() == [
            "|    | knn     | rankme |",
            "|----|---------|--------|",
            "| a  | 50.0 %  | 3.2    |",
            "| bb | 100.0 % | -      |",
        ]
        assert "| 0.07 " in evaluation.table({"best kNN": {"knn": 0.5, "temperature": 0.07}})


class TestCallback:
    class _Fake(keras.Model):
        def __init__(self):
            super().__init__()
            self.encoder = tiny_encoder()

    def _run(self, callback, epochs):
        callback.set_model(self._Fake())
        callback.set_params({"epochs": epochs})
        logs = [{} for _ in range(epochs)]
        for epoch in range(epochs):
            callback.on_epoch_end(epoch, logs[epoch])
        return logs

    def test_first_every_and_last_epoch(self, images):
        logs = self._run(callbacks.EvaluationCallback(images, images, every=3), 7)
        assert [epoch for epoch, log in enumerate(logs) if log] == [0, 2, 5, 6]
        assert set(logs[0]) == {"val_knn", "val_linear", "val_rankme"}

    def test_unlabeled(self, images):
        logs = self._run(callbacks.EvaluationCallback(images.without_labels()), 1)
        assert set(logs[0]) == {"val_rankme"}

    def test_labels_are_asked_for_before_training(self, images):
        with pytest.raises(ValueError, match="`train` and `test` must have labels"):
            callbacks.EvaluationCallback(images.without_labels(), images)
        with pytest.raises(ValueError, match="`every`"):
            callbacks.EvaluationCallback(images, every=0)

    def test_later_callbacks_see_the_figures(self, images, views):
        from keras_ssl import models

        model = models.VICReg(tiny_encoder(), "8-6")
        model.compile("sgd", run_eagerly=True)
        history = model.fit(
            views,
            steps_per_epoch=1,
            epochs=2,
            verbose=0,
            shuffle=False,
            callbacks=[
                callbacks.EvaluationCallback(images, images),
                keras.callbacks.EarlyStopping(monitor="val_rankme", mode="max", patience=5),
            ],
        ).history
        assert len(history["val_knn"]) == 2


class TestWithoutLabels:
    def test_alpha_req_is_the_exponent_of_the_spectrum(self):
        i = np.arange(1, 65)
        sides = np.concatenate([np.eye(64), -np.eye(64)])
        for alpha in (0.5, 1.0, 2.0):
            assert evaluation.alpha_req(sides * i ** (-alpha / 2)) == pytest.approx(alpha, rel=1e-6)
        assert np.isnan(evaluation.alpha_req(np.ones((5, 3))))  # nothing to fit

    @pytest.mark.parametrize(("first", "last"), [(4, 100), (11, 40)])
    def test_alpha_req_is_its_authors_fit(self, first, last):
        """The normal equations of log variance on log rank, weighted by 1 / rank."""
        x = np.random.RandomState(0).randn(300, 60) * np.exp(-0.05 * np.arange(60))
        variances = np.sort(np.linalg.eigvalsh(np.cov(x, rowvar=False)))[::-1]
        ranks = np.arange(first, min(last, 60) + 1)
        a = np.stack([-np.log(ranks), np.ones(len(ranks))], axis=1)
        y = np.log(variances[ranks - 1])
        expected = np.linalg.solve(a.T @ (a / ranks[:, None]), a.T @ (y / ranks))[0]
        assert evaluation.alpha_req(x, first, last) == pytest.approx(expected, rel=1e-9)

    def test_alpha_req_of_the_pixels_of_digits(self):
        """It is 2.31 for all 1,797 images of scikit-learn, as computed by plain NumPy."""
        assert evaluation.alpha_req(load_digits().data) == pytest.approx(2.3107, abs=5e-5)

    def test_alpha_req_wants_ranks_in_order(self):
        with pytest.raises(ValueError, match="`last` must be above `first`.*first=9, last=9"):
            evaluation.alpha_req(np.ones((5, 3)), 9, 9)

    def test_lidar_counts_what_tells_images_apart(self):
        rng = np.random.RandomState(0)
        for directions in (1, 2, 6):
            images = rng.randn(2000, 1, 8) * (np.arange(8) < directions)
            views = images + 0.05 * rng.randn(2000, 10, 8)
            assert evaluation.lidar(views) == pytest.approx(directions, rel=0.05)
        # A direction in which augmentations change as much as images do does not count.
        views = images + rng.randn(2000, 10, 8) * np.array([0.01] + [30] * 7)
        assert evaluation.lidar(views) == pytest.approx(1, abs=0.2)
        assert evaluation.lidar(np.ones((4, 2, 3))) == 1.0

    def test_lidar_is_the_effective_rank_of_the_whitened_covariance(self):
        x = np.random.RandomState(1).randn(20, 4, 3) * [3, 1, 1] + np.arange(20)[:, None, None]
        means = x.mean(axis=1)
        between = np.cov(means.T, bias=True)
        within = sum((x[i] - means[i]).T @ (x[i] - means[i]) for i in range(20)) / 80
        values, vectors = np.linalg.eigh(within + 1e-4 * np.eye(3))
        root = vectors @ np.diag(values**-0.5) @ vectors.T
        p = np.linalg.eigvalsh(root @ between @ root)
        p = p / p.sum()
        assert evaluation.lidar(x) == pytest.approx(np.exp(-np.sum(p * np.log(p))), rel=1e-5)

    def test_alignment_and_uniformity(self):
        x = np.array([[1.0, 0.0], [0.0, 2.0]])
        y = np.array([[0.0, 3.0], [0.0, 1.0]])
        assert evaluation.alignment(x, y) == pytest.approx((2 + 0) / 2)
        assert evaluation.uniformity(x) == pytest.approx(-4)  # one pair at a squared distance of 2
        assert evaluation.uniformity(np.ones((5, 3))) == 0

    @pytest.mark.parametrize(
        ("function", "features", "message"),
        [
            (evaluation.alpha_req, np.ones(3), "`features` must be a matrix"),
            (evaluation.lidar, np.ones((3, 3)), "`features`.*views Q >= 2"),
            (evaluation.lidar, np.ones((3, 1, 3)), "at least 2 views"),
            (evaluation.lidar, np.full((3, 2, 3), np.nan), "finite"),
            (evaluation.uniformity, np.ones((1, 3)), "at least 2 samples"),
        ],
    )
    def test_bad_features(self, function, features, message):
        with pytest.raises(ValueError, match=message):
            function(features)

    def test_a_policy_adds_them_to_the_judgment(self, images):
        figures = evaluation.judge(tiny_encoder(), images, policy=data.tiny_gray())
        assert list(figures) == ["rankme", "alpha_req", "uniformity", "lidar"]
        views = evaluation.extract_views(tiny_encoder(), images, data.tiny_gray(), 3, batch_size=20)
        assert views.shape == (48, 3, 16)


@pytest.mark.parametrize(
    ("labels", "width"),
    [(np.zeros((8, 1), int), 4), (np.zeros(3, int), 4), (np.zeros(16, int), 4)]
    + [(np.zeros(8), 4), (np.array(["a"] * 8), 4), (None, 4), (np.zeros(8, int), 3)],
    ids=["column", "few", "many", "floats", "texts", "none", "another width"],
)
@pytest.mark.parametrize("judge", [evaluation.knn_accuracy, evaluation.linear_accuracy])
def test_labels_that_are_none(judge, labels, width):
    good = evaluation.Features(np.random.RandomState(0).randn(8, 4), np.arange(8) % 2)
    bad = evaluation.Features(np.random.RandomState(0).randn(8, width), labels)
    with pytest.raises(ValueError, match="one for each row|of the same width"):
        judge(good, bad)


class TestFiguresThatAreKept:
    @pytest.fixture(autouse=True)
    def home(self, tmp_path, monkeypatch):
        monkeypatch.setenv("KERAS_HOME", str(tmp_path / "home"))
        return tmp_path / "home" / "keras_ssl"

    def sets(self, brighter=0, classes=3):
        rng = np.random.RandomState(0)
        pixels = rng.randint(0, 200, (60, 4, 4, 1)).astype("uint8") + np.uint8(brighter)
        images = data.from_arrays(pixels, np.arange(60) % classes)
        return images.subset(range(40)), images.subset(range(40, 60))

    def test_raw_pixels_are_judged_once(self):
        train, test = self.sets()
        pixels = evaluation.raw_pixels(train.image_shape)
        first, is_known = evaluation.judge_raw_pixels(train, test)
        assert first == evaluation.judge(pixels, train, test) and not is_known
        with mock.patch("keras_ssl.evaluation.judgment.knn_accuracy", side_effect=AssertionError):
            assert evaluation.judge_raw_pixels(*self.sets()) == (first, True)

    @pytest.mark.parametrize("other", ["pixel", "labels", "no test", "fewer"])
    def test_other_images_are_judged_anew(self, other):
        train, test = self.sets()
        evaluation.judge_raw_pixels(train, test)
        sets = {
            "pixel": self.sets(brighter=1),
            "labels": (self.sets(classes=2)[0], test),
            "no test": (train, None),
            "fewer": (train.subset(range(39)), test),
        }
        assert not evaluation.judge_raw_pixels(*sets[other])[1]

    def test_a_damaged_file_is_written_again(self, home):
        sets = self.sets()
        first, _ = evaluation.judge_raw_pixels(*sets)
        (file,) = home.iterdir()
        file.write_text("{")
        assert evaluation.judge_raw_pixels(*sets) == (first, False)
        assert evaluation.judge_raw_pixels(*sets) == (first, True)

    def test_a_folder_that_cannot_be_written_is_no_error(self, home):
        home.parent.write_text("a file, where a folder should be")
        first, _ = evaluation.judge_raw_pixels(*self.sets())
        assert evaluation.judge_raw_pixels(*self.sets()) == (first, False)


def test_a_number_is_the_same_class_in_both_parts():
    pixels, labels = np.zeros((4, 4, 4, 1), "uint8"), np.array([0, 1, 0, 1])
    cats, birds, numbers = (
        data.from_arrays(pixels, labels, names)
        for names in (("cat", "dog", "fish"), ("cat", "fish"), None)
    )
    encoder = evaluation.raw_pixels((4, 4, 1))
    with pytest.raises(ValueError, match="class 1 is 'dog' in `train`, 'fish' in `test`"):
        evaluation.judge(encoder, cats, birds)
    with pytest.raises(ValueError, match="`test` must have the classes of `train`"):
        callbacks.EvaluationCallback(cats, birds)
    assert evaluation.judge(encoder, cats, numbers, label_free=False)
    # Folders that are called by numbers.
    names = ("3", "5", "7"), ("5", "7")
    some, fewer = (data.from_arrays(pixels, labels, one) for one in names)
    with pytest.raises(ValueError, match="class 0 is '3' in `train`, '5' in `test`"):
        evaluation.judge(encoder, some, fewer)
    of_eleven = data.from_arrays(pixels, labels, sorted(map(str, range(11))))
    with pytest.raises(ValueError, match="class 2 is '10' in `train`, '2' in `test`"):
        evaluation.judge(encoder, of_eleven, data.from_arrays(pixels, labels, list("0123")))


def test_every_second_of_labels_that_alternate_lacks_classes():
    pixels = np.random.RandomState(0).randint(0, 256, (40, 4, 4, 1)).astype("uint8")
    images = data.from_arrays(pixels, np.arange(40) % 4)
    encoder = evaluation.raw_pixels((4, 4, 1))
    with pytest.warns(UserWarning, match="of 4 classes, and the 20 .* judged.* are of 2") as said:
        evaluation.judge(encoder, images, images, max_images=20)
    assert ["`train`" in str(said[0].message), "`test`" in str(said[1].message)] == [True, True]
    evaluation.judge(encoder, images, images, max_images=39)


def test_one_class_is_nothing_to_learn():
    one = Features(np.eye(3), np.array([2, 2, 2]))
    with pytest.raises(ValueError, match="`train` must have labels of two classes or more"):
        evaluation.linear_accuracy(one, one)


def test_lidar_of_very_large_features():
    """Rounding alone would make their covariance indefinite."""
    random = np.random.RandomState(0)
    one = random.randn(50, 1, 1) * np.ones(40) + 1e-3 * random.randn(50, 10, 1) * np.ones(40)
    assert evaluation.lidar(1e8 * one) == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize("scale", [1e-25, 1.0, 1e20])
def test_knn_of_features_of_any_size(scale):
    values = np.random.RandomState(0).randn(30, 5).astype("float32") * np.float32(scale)
    features = evaluation.Features(values, np.arange(30))
    assert evaluation.knn_accuracy(features, features, 1) == 1.0


@pytest.mark.parametrize("labels", [np.array([250, 255] * 5, "uint8"), [10**12, 3] * 5])
def test_knn_of_any_whole_labels(labels):
    values = np.array([[1.0, 0.1], [-1.0, 0.1]] * 5)
    features = evaluation.Features(values, labels)
    assert evaluation.knn_accuracy(features, features, 1) == 1.0


def test_uniformity_at_a_large_temperature():
    assert evaluation.uniformity(np.eye(8), temperature=400.0) == pytest.approx(-800)
