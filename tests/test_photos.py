"""The page docs/photos.md, run as it stands, from the wheel, on photos whose labels are hidden.

    CLOTHING=clothing128 pytest -m slow tests/test_photos.py -s

`CLOTHING` is the folder of Clothing (small), with train/ and its class folders. It takes about half
an hour, and prints the minutes of every command.
"""

import os
import pathlib
import re
import shlex
import shutil
import sys
import time

import numpy as np
import pytest

from tests.wheels import ROOT, build_wheel, install, run

PAGE = ROOT / "docs" / "photos.md"
CLOTHING = os.environ.get("CLOTHING")
# Runs the exported encoder without Keras, as docs/export.md says, and prints its largest difference
# to the features that `embed` wrote.
COMPARE = """
import numpy as np
import onnxruntime
from PIL import Image, ImageOps

file = np.load("features.npz")
encoder = onnxruntime.InferenceSession("exported/encoder.onnx")
size = encoder.get_inputs()[0].shape[1]
photos = [Image.open(path).convert("RGB") for path in file["paths"][:64]]
photos = [ImageOps.fit(p, (size, size), Image.Resampling.BICUBIC) for p in photos]
images = np.stack([np.asarray(p, "float32") / 255 for p in photos])
(found,) = encoder.run(["representations"], {"images_from_0_to_1": images})
expected = file["features"][:64]
print(np.abs(found - expected).max() / np.abs(expected).max())
"""


def _commands():
    lines = re.findall(r"^    (keras-ssl .*)$", PAGE.read_text(), re.M)
    return [shlex.split(line) for line in lines]


def test_the_page_has_the_day():
    """The fast part: which commands the page shows, in which order."""
    words = [words[1] for words in _commands()]
    assert words == ["pretrain", "evaluate", "embed", "neighbors", "finetune", "export"]


@pytest.fixture
def day(tmp_path):
    """A folder with photos/, out of class folders, and labeled/photos/, within them."""
    photos = tmp_path / "photos"
    photos.mkdir()
    source = pathlib.Path(CLOTHING) / "train"
    shutil.copytree(source, tmp_path / "labeled" / "photos")
    files = sorted(path for path in source.rglob("*") if path.suffix == ".jpg")
    order = np.random.RandomState(0).permutation(len(files))
    for number, index in enumerate(order):
        shutil.copy(files[index], photos / f"{number:05d}.jpg")
    return tmp_path


@pytest.mark.slow
@pytest.mark.skipif(CLOTHING is None, reason="CLOTHING does not name the folder of Clothing")
def test_a_day_with_photos(day, tmp_path_factory):
    wheel = build_wheel(tmp_path_factory.mktemp("wheel"))
    programs = install(sys.executable, tmp_path_factory.mktemp("venv"), f"{wheel}[onnx]")
    minutes, said = {}, {}
    for words in _commands():
        (name,) = (path.name for path in (day / "runs").glob("*")) if "pretrain" in said else ("",)
        words = [word.replace("RUN", name) for word in words[1:]]
        start = time.monotonic()
        said[words[0]] = run(programs / "keras-ssl", *words, cwd=day)
        minutes[words[0]] = (time.monotonic() - start) / 60
        print(f"{words[0]}: {minutes[words[0]]:.1f} min\n{said[words[0]][-1500:]}", flush=True)
    # The budget of the page is ten minutes, of which a run may miss a fifth.
    assert 8 < minutes["pretrain"] < 12
    (folder,) = (day / "runs").glob("*")
    for path in ("report.html", "views.png", "encoder.keras", "results.json"):
        assert (folder / path).is_file()
    features = np.load(day / "features.npz")
    assert len(features["paths"]) == len(list((day / "photos").glob("*.jpg")))
    for path in ("gallery.png", "duplicates.csv", "outliers.csv"):
        assert (day / "neighbors" / path).is_file()
    assert float(run(programs / "python", "-c", COMPARE, cwd=day)) < 1e-4
    if target := os.environ.get("PICTURES"):
        shutil.copy(folder / "views.png", target)
        shutil.copy(day / "neighbors" / "gallery.png", target)
