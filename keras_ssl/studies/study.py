"""`Study`: searches the settings of several arms with one budget, and compares the arms."""

from __future__ import annotations

import json
import os
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import keras
import keras_tuner

from keras_ssl import _renames
from keras_ssl._files import LOCK, DamagedFileError, FolderLock, read_json, write_json
from keras_ssl._tensorflow import is_installed, tf
from keras_ssl._validation import check_count, check_seed
from keras_ssl.data import fingerprint
from keras_ssl.hypermodels import PretrainingHyperModel
from keras_ssl.studies.identity import describe, differences, name_of
from keras_ssl.studies.oracle import StudyOracle
from keras_ssl.studies.plan import RESERVED, file_name
from keras_ssl.studies.progress import Progress
from keras_ssl.studies.results import Results, rows_of, write_csv
from keras_ssl.studies.settings import space_of
from keras_ssl.studies.starter import end_with_starter, ends_when_told, is_worker
from keras_ssl.studies.tensorboard import write_columns
from keras_ssl.studies.tuner import StudyHyperModel, StudyTuner
from keras_ssl.training.one_program import OneProgram

_IDENTITY = "study.json"
_TRIALS = "trials"


class StudyFolderError(ValueError):
    """A folder holds something other than this study."""


class Study:
    """Searches the settings of each arm with the same budget, then compares defaults and best.

    Each arm gets `trials` draws from its space; the first draw has the default settings. The draw
    with the best score on the validation images and the defaults then run again with `seeds` other
    seeds, and are judged on the test images. If no draw beats the defaults, tuned means default.

    The best of many draws may be the best because of its seed alone. With `finalists`, that many
    draws of each arm, the best of its search, run with `seeds` more seeds first; the one with the
    best mean score on the validation images is chosen. The final runs still have other seeds.

    The folder holds `study.json` (what the study is), `trials/` (keras-tuner's), `trials.csv` (a
    row per trial, written anew after each), `tensorboard/`, and `best/`, with a file per arm for
    `keras-ssl pretrain --config`.

    A study that was killed continues when it is run again. It does not repeat a finished trial,
    unless the trial's file was damaged, of which it warns. A trial that fails is recorded with the
    reason, and so is a trial in which the process was killed three times. You may ask for more
    `trials`, `seeds` or `finalists` later. Any other change makes it another study, which needs
    another folder. (Functions, such as encoders, spaces and measures, are compared by their names,
    arguments and hyperparameters, not by their code.)

    Several processes can share a study if they have the same folder and keras-tuner's environment
    variables KERASTUNER_TUNER_ID, KERASTUNER_ORACLE_IP and KERASTUNER_ORACLE_PORT: see
    `keras_ssl.studies.run_with_workers`.

    Args:
        folder: Where the results go: a new folder, an empty one, or this study's own.
        arms: Hypermodels, by their names in tables and plots. All must have the same `score` and
            the same images, and no hyperparameter called "arm", "stage", "draw" or "seed".
        trials: Number of draws per arm, the defaults included, at least 1. (1: only the defaults.)
        seeds: Number of final runs of each of the two settings, at least 1; error bars need 3 or
            more.
        finalists: Number of draws per arm that are confirmed by more runs, at least 1. (1: the
            search decides. Use 3 or more if seeds matter as much as settings.)
        search: What proposes settings: a keras-tuner oracle class, or a function from (objective,
            seed) to such an oracle. Random by default, which compares arms most fairly. Hyperband
            and grids have plans of their own: use those tuners on a hypermodel itself.
        callbacks: Makes the callbacks of a trial from its hyperparameters.
        seed: Seed of the draws.

    Raises:
        StudyFolderError: if the folder holds another study, or anything else.
        TypeError: if `arms` is not a dictionary of hypermodels by name, or another argument has the
            wrong type.
        ValueError: if there are no arms; if their scores or images differ, their names cannot be
            printed or give the same files' names, or their hyperparameters have reserved names; if
            a number is out of range; if `search` is Hyperband's or the grid's oracle; if study.json
            is damaged.

    Example:
        Each arm gets 20 draws. Then the defaults and the best draw run with 3 other seeds.

        >>> import tempfile
        >>> from keras_ssl import data, recipes
        >>> images = data.hold_out(data.load("digits"))
        >>> arms = {"simclr": PretrainingHyperModel(recipes.SMALL["simclr"], images)}
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     study = Study(folder, arms, trials=20, seeds=3)
        >>> [parameter.name for parameter in study.spaces["simclr"].space][:3]
        ['temperature', 'base learning rate', 'weight decay']
        >>> results = Study("runs/digits", arms, trials=20).run()  # doctest: +SKIP
    """

    def __init__(
        self,
        folder: Any,
        arms: Mapping[str, PretrainingHyperModel],
        trials: int = 10,
        seeds: int = 3,
        finalists: int = 1,
        search: Callable[..., keras_tuner.Oracle] = keras_tuner.oracles.RandomSearchOracle,
        callbacks: Callable[
            [keras_tuner.HyperParameters], list[keras.callbacks.Callback]
        ] = lambda hp: [],
        seed: int = 0,
    ) -> None:
        if not isinstance(folder, (str, os.PathLike)):
            raise TypeError(f"`folder` must be a folder's path. Received: folder={folder!r}")
        _check_arms(arms)
        scores = {hypermodel.score for hypermodel in arms.values()}
        if len(scores) != 1:
            raise ValueError(
                "`arms` must be hypermodels with the same `score`. "
                f"Received: {len(arms)} arms with the scores {sorted(scores)}"
            )
        for name, value in (("search", search), ("callbacks", callbacks)):
            if not callable(value):
                raise TypeError(f"`{name}` must be callable. Received: {name}={value!r}")
        if search in (
            keras_tuner.oracles.HyperbandOracle,
            keras_tuner.oracles.GridSearchOracle,
        ):
            raise ValueError(
                "`search` must propose a draw only from the scores of the draws before it. For "
                "Hyperband and grids, use keras_tuner.Hyperband or keras_tuner.GridSearch on a "
                f"hypermodel itself. Received: {search.__name__}"
            )
        self.folder = pathlib.Path(folder)
        self.arms = dict(arms)
        self.trials, self.seeds = check_count("trials", trials), check_count("seeds", seeds)
        self.finalists = check_count("finalists", finalists)
        self.search, self.callbacks, self.seed = search, callbacks, check_seed("seed", seed)
        self.score = scores.pop()
        self.spaces = {name: space_of(arm) for name, arm in self.arms.items()}
        for name, space in self.spaces.items():
            if taken := RESERVED & {parameter.name for parameter in space.space}:
                raise ValueError(
                    f"`arms` must not have hyperparameters named {sorted(RESERVED)}: trials have "
                    f"them. Received: {name!r} with {sorted(taken)}"
                )
        self._take_folder()

    # --- The folder ----------------------------------------------------------------------------

    def identity(self) -> dict[str, Any]:
        """What makes two studies the same: arms, images, score and search, in JSON's types."""
        prints = {id(arm.images): arm.images for arm in self.arms.values()}
        parts = {"; ".join(map(fingerprint, images)) for images in prints.values()}
        if len(parts) > 1:
            raise ValueError(f"`arms` must have the same images. Received: {sorted(parts)}")
        arms = {name: describe(arm, self.spaces[name]) for name, arm in self.arms.items()}
        backend = keras.backend.backend()
        identity = {
            # Equal seeds give other weights on another backend. Earlier versions knew one.
            **({} if backend == "tensorflow" else {"backend": backend}),
            "score": self.score,
            "search": name_of(self.search),
            "seed": self.seed,
            "images": parts.pop(),
            "arms": arms,
        }
        return json.loads(json.dumps(identity, default=str))

    def _take_folder(self) -> None:
        path = self.folder / _IDENTITY
        mine = self.identity()
        if path.exists():
            identity = self._read_identity(path, mine)
            self._rename(identity)
            found = list(differences(identity, mine))
            if found:
                raise StudyFolderError(
                    "`folder` holds another study; name another folder, or ask for that study. "
                    f"{path} differs in {'; '.join(found[:5])}. Received: folder={str(self.folder)}"
                )
            return
        # Workers may start before the chief or together: then the folder holds their files.
        if self.folder.exists() and not self.folder.is_dir():
            raise StudyFolderError(f"`folder` must be a folder. Received: the file {self.folder}")
        strange = [] if not self.folder.exists() else [p.name for p in self.folder.iterdir()]
        strange = [name for name in strange if not name.startswith((_IDENTITY, LOCK, "worker-"))]
        if strange and not path.exists():
            raise StudyFolderError(
                f"`folder` must be new, empty or a study's own: it has no {_IDENTITY}. "
                f"Received: folder={str(self.folder)} with {sorted(strange)[:5]}"
            )
        self.folder.mkdir(parents=True, exist_ok=True)
        write_json(path, mine)

    def _rename(self, identity: dict[str, Any]) -> None:
        """Gives the recipes of an identity that an earlier version wrote their names of today."""
        arms = identity.get("arms")
        for name, arm in arms.items() if isinstance(arms, dict) else ():
            if name in self.arms and isinstance(arm, dict) and isinstance(arm.get("recipe"), dict):
                criterion = self.arms[name].recipe.make_criterion
                arm["recipe"] = _renames.recipe(arm["recipe"], criterion)

    @staticmethod
    def _read_identity(path: pathlib.Path, mine: dict[str, Any]) -> dict[str, Any]:
        """What the file says; if it is damaged, what is asked for is written beside it."""
        asked = path.with_name(f"{path.name}.asked")
        try:
            return read_json(
                path,
                "If this folder holds the study that you ask for, replace the file with "
                f"{asked.name}, which is beside it; otherwise name another folder.",
            )
        except DamagedFileError:
            write_json(asked, mine)
            raise

    # --- Running -------------------------------------------------------------------------------

    def run(
        self,
        strategy: tf.distribute.Strategy | OneProgram | None = None,
        retry_failed: bool = False,
    ) -> Results | None:
        """Runs all trials that are not done yet.

        Args:
            strategy: Devices of one machine that each trial uses, such as a `MirroredStrategy`.
            retry_failed: Whether trials that failed before run again.

        Returns:
            The results; `None` in a worker, which runs trials for a chief.

        Raises:
            StudyFolderError: if another process runs the study.
            TypeError: if `strategy` is not a strategy.
            ValueError: if a trial's file is missing or cannot be read.
        """
        kinds = (OneProgram, type(None), *((tf.distribute.Strategy,) if is_installed() else ()))
        if not isinstance(strategy, kinds):
            raise TypeError(
                f"`strategy` must be a tf.distribute.Strategy, or None. Received: {strategy!r}"
            )
        end_with_starter()
        lock = None
        if not is_worker():
            try:
                lock = FolderLock(self.folder)
            except BlockingIOError:
                raise StudyFolderError(
                    "`folder` holds a study that another process is running, perhaps a worker "
                    f"whose chief was killed. Received: folder={str(self.folder)}"
                ) from None
        try:
            with ends_when_told():
                return self._run(strategy, retry_failed)
        finally:
            if lock is not None:
                lock.release()

    def _run(self, strategy: Any, retry_failed: bool) -> Results | None:
        progress = Progress(self.score)

        def on_change(trial: Any) -> None:
            write_csv(rows_of(oracle.trials), self.folder / "trials.csv")
            progress.say(oracle, trial)

        objective = next(iter(self.arms.values())).objective
        oracle = StudyOracle(
            self.arms,
            self.spaces,
            self.trials,
            self.seeds,
            self.finalists,
            self.search,
            objective,
            self.seed,
            on_change,
            retry_failed,
        )
        log_dir = self.folder / "tensorboard"
        tuner = StudyTuner(
            oracle=oracle,
            hypermodel=StudyHyperModel(self.arms, self.spaces),
            log_dir=log_dir,
            callbacks=self.callbacks,
            distribution_strategy=None if isinstance(strategy, OneProgram) else strategy,
            directory=str(self.folder),
            project_name=_TRIALS,
        )
        if not is_worker():
            progress.begin(oracle)
            # Figures that every trial has. Losses are not among them: they are of different kinds.
            is_labeled = all(arm.images.validation.has_labels for arm in self.arms.values())
            names = [f"val_{self.score}", *(("val_linear", "val_knn") if is_labeled else ())]
            write_columns(log_dir, self.spaces, [*dict.fromkeys(names), "seconds"])
        tuner.search(verbose=0)
        if is_worker():
            return None
        rows = rows_of(oracle.trials)
        write_csv(rows, self.folder / "trials.csv")
        images = next(iter(self.arms.values())).images
        has_test = images.test is not None
        results = Results(rows, self.score, list(self.arms), has_test, self.finalists)
        for name in self.arms:
            self._write_best(results, name)
        return results

    def _write_best(self, results: Results, name: str) -> None:
        """Writes the arm's best settings, for `keras-ssl pretrain --config`."""
        result, hypermodel = results.arms[name], self.arms[name]
        if result.best_draw is None:
            return
        hp = keras_tuner.HyperParameters()
        hp.values = dict(result.settings)
        encoder = hypermodel.encoder
        content = {
            "recipe": hypermodel.trial_recipe(hp).get_config(),
            "encoder": encoder if isinstance(encoder, str) else None,
            "found by": {
                "study": self.folder.name,
                "arm": name,
                "draw": result.best_draw,
                f"val_{self.score}": (result.confirmed or result.searched)[result.best_draw],
            },
            "settings": result.settings,
        }
        folder = self.folder / "best"
        folder.mkdir(exist_ok=True)
        write_json(folder / f"{file_name(name)}.json", content)


def _check_arms(arms: Any) -> None:
    """Raises unless `arms` are hypermodels, by names that can be printed and name files."""
    if not isinstance(arms, Mapping):
        raise TypeError(
            "`arms` must be a dictionary of keras_ssl.hypermodels.PretrainingHyperModel by name. "
            f"Received: {type(arms).__name__}"
        )
    for name, arm in arms.items():
        if not isinstance(name, str) or not isinstance(arm, PretrainingHyperModel):
            raise TypeError(
                "`arms` must be keras_ssl.hypermodels.PretrainingHyperModel by name. "
                f"Received: {name!r}: {type(arm).__name__}"
            )
        if not name.isprintable():
            raise ValueError(
                f"`arms` must have names of one line that can be printed. Received: {name!r}"
            )
    files = [file_name(name) for name in arms]
    if "" in files or len(set(files)) < len(files):
        raise ValueError(
            "`arms` must have names that differ in letters or digits, which name their files. "
            f"Received: {list(arms)}"
        )
