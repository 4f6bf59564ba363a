"""The model card of an exported encoder: a README.md as the Hugging Face hub reads it."""

import json
import os
import pathlib
from typing import Any, NamedTuple

from keras_ssl.encoders.exported import CONTRACT
from keras_ssl.evaluation import table
from keras_ssl.exporting.formats import Format
from keras_ssl.runs.folder import RESULTS, RunFolder, is_run
from keras_ssl.runs.metrics_log import read_metrics

CARD = "README.md"


class Training(NamedTuple):
    """What a run says of an encoder.

    Attributes:
        config: The config of the run, see `RunFolder.read_config`.
        results: The figures by row, empty if the run was not judged.
        epochs: Number of epochs that were trained; `None` if it is not known.
    """

    config: dict[str, Any]
    results: dict[str, Any]
    epochs: int | None = None


def read_training(source: Any) -> Training | None:
    """Reads what a run says of its encoder.

    Args:
        source: The folder of a run, or the encoder.keras in it. Of anything else nothing is known.

    Raises:
        ValueError: if the run's files are damaged.
    """
    if not isinstance(source, (str, os.PathLike)):
        return None
    path = pathlib.Path(os.fspath(source))
    if path.name == "encoder.keras":
        path = path.parent
    if not is_run(path):
        return None
    folder = RunFolder(path)
    epochs = len(read_metrics(folder / "metrics.csv")) or None
    return Training(folder.read_config(), folder.read_json(RESULTS) or {}, epochs)


def model_card(
    name: str, format: Format, contract: dict[str, Any], training: Training | None = None
) -> str:
    """Writes the model card: YAML that the hub reads, then Markdown for people.

    No path of the machine is in it: of a folder of images it gives the last name alone.

    Args:
        name: Name of the encoder.
        format: The format of the exported file.
        contract: What contract.json holds.
        training: What is known of the training; `None` if nothing is.
    """
    method, data = _method(training), _data(training)
    tags = ["keras", "keras_ssl", "self-supervised-learning", *([method.lower()] if method else [])]
    front = [
        "library_name: keras",
        "pipeline_tag: image-feature-extraction",
        "tags:",
        *(f"- {json.dumps(tag)}" for tag in tags),  # A JSON string is a YAML string.
    ]
    title = f"{name}, trained by {method} on {data}" if method and data else name
    takes, returns = contract["input"], contract["output"]
    height, width, channels = takes["shape"][1:]
    sides = "of any size" if height == width == "any" else f"of {height} x {width} pixels"
    normalized = "" if returns["l2_normalized"] else "not "
    check = contract["check"]
    numbers = ""
    if pairs := takes.get("numbers_that_became_0_and_1"):
        texts = ", ".join(f"{low:g} to {high:g}" for low, high in pairs)
        each = " of each channel in turn" if len(pairs) > 1 else ""
        numbers = f"Numbers{each} from {texts} became 0 to 1 in training. "
    sections = [
        "\n".join(["---", *front, "---"]),
        f"# {title}",
        f"An image encoder in the format {format.title}, in `{format.file}`. It turns an image "
        f"into a representation of {returns['shape'][1]} numbers, without labels.",
        "## Images",
        f"It takes float32 images in [0, 1] {sides}, {channels} channels ({takes['channels']}), "
        f"in batches (N, height, width, channels) of any N. {numbers}Training resized the shorter "
        "side (bicubic, antialiased) and cropped the center. The network itself wants "
        f"{takes['scaling_inside']}. It returns float32 (N, {returns['shape'][1]}), "
        f"{normalized}l2-normalized. `{CONTRACT}` says the same for programs.",
        *([contract["note"]] if "note" in contract else []),
        "## Use",
        f"```python{format.usage}```",
        "## Training",
        _training_text(training, method, data),
        *(
            ["## Figures", _figures_text(training), table(training.results)]
            if training and training.results
            else []
        ),
        "## Check",
        f"The file was run on {check['images']} and compared with {check['against']}: the "
        f"largest difference is {check['largest_difference']:.1e} of "
        f"{check['relative_to']}.",
        "## Before publishing",
        "Add `license:` to the lines at the top, and say here whose images these were.",
    ]
    return "\n\n".join(sections) + "\n"


def _figures_text(training: Training) -> str:
    """Says which images the figures are of, and what they are."""
    if not any("knn" in figures for figures in training.results.values()):
        return "Without labels: `rankme` is the number of directions that the representations use."
    others = training.config["options"].get("evaluate_on")
    where = "On held-out images of the same source"
    if others is not None:
        name = _last_part(others)
        where = "On other images" + (f" ({name})" if name else "")
    return (
        f"{where}: `knn` and `linear` are accuracies of a k-nearest-neighbor and a linear "
        "classifier on frozen representations (higher is better)."
    )


def _method(training: Training | None) -> str | None:
    return training and training.config.get("recipe", {}).get("model")


def _data(training: Training | None) -> str | None:
    """The name of the images; of a path, its last part."""
    return training and _last_part(training.config["options"].get("source"))


def _last_part(name: Any) -> str | None:
    """The name of images or of an encoder; of a path, its last part."""
    if not isinstance(name, str):  # An object of Python has no name.
        return None
    is_path = os.path.exists(name) or os.path.isabs(name) or name.startswith((".", "~"))
    return pathlib.Path(name).name if is_path else name


def _training_text(training: Training | None, method: str | None, data: str | None) -> str:
    if training is None:
        return "Nothing is known of the training: the encoder did not come from a run's folder."
    recipe = training.config.get("recipe", {})
    rows = {
        "method": method,
        "images": data,
        "set": training.config.get("data", {}).get("training"),
        "encoder": _last_part(training.config.get("encoder")),
        "epochs": recipe.get("epochs")
        if training.epochs in (None, recipe.get("epochs"))
        else f"{training.epochs} of {recipe.get('epochs')}",
        **{
            key.replace("_", " "): recipe.get(key)
            for key in ("batch_size", "policy", "projector", "optimizer")
        },
        "seed": training.config["options"].get("seed"),
        "smoke test": "yes: it was not trained to be used"
        if training.config["options"].get("smoke")
        else None,
        "Keras": training.config.get("versions", {}).get("keras"),
    }
    return "\n".join(f"- {key}: {value}" for key, value in rows.items() if value is not None)
