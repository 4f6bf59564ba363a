"""`embed`: one row of features for each image, in a file."""

import os

from keras_ssl import _log
from keras_ssl._validation import check_count
from keras_ssl.encoders import load_encoder
from keras_ssl.retrieval import Embeddings, embed_images, open_images
from keras_ssl.retrieval.extraction import check_out
from keras_ssl.runs import scaling_of, size_of

# A smoke test embeds so many images.
_SMOKE = 64


def embed(
    encoder: str | os.PathLike[str],
    images: str | os.PathLike[str],
    out: str | os.PathLike[str] = "embeddings.npz",
    *,
    image_size: int | None = None,
    batch_size: int = 128,
    labels: bool = True,
    overwrite: bool = False,
    smoke: bool = False,
    quiet: bool = False,
) -> Embeddings:
    """Writes the features of images to a file, one row for each image, with its path.

    Takes any number of images in constant memory. If it is stopped, the same call goes on where it
    was: until the file is complete, its parts are in the folder OUT.parts. Images that cannot be
    read get no row, and are listed in a table beside the file, which ends in .skipped.csv.

    In Python: `numpy.load(out)["features"]`, or `keras_ssl.retrieval.read_embeddings(out)`.

    Examples:
        keras-ssl embed runs/RUN photos/ --out features.npz
        keras-ssl embed encoder.keras photos/ --out features.csv --batch-size 64

    Args:
        encoder: The folder of a run, a .keras file, or a folder that `export` wrote as safetensors.
            In Python, also a Keras model.
        images: A folder of image files, sub-folders included, or another source of images (see
            `pretrain`). In Python, also an `ImageSet`.
        out: The file. Its suffix says its format: .npz (`paths` and `features`), .csv or .parquet
            (needs pyarrow).
        image_size: Height and width that images are brought to, in pixels. Default: those of
            the encoder or of its run; if neither is known, 128 for folders.
        batch_size: Images per step; a smaller number needs less memory.
        labels: Whether the names of sub-folders are written as labels.
        overwrite: Whether the file, and parts of another encoder or other images, may be replaced.
        smoke: Embeds 64 of the images, to try the command.
        quiet: Says only warnings.

    Returns:
        What was written, with memory-mapped features: `paths`, `features`, `labels`, `class_names`.

    Raises:
        ValueError: if there is no encoder or no image, the file exists or has an unknown suffix, or
            images do not fit the encoder.
    """
    check_count("batch_size", batch_size)
    check_out(out, overwrite)
    with _log.shown(quiet):
        model = load_encoder(encoder)
        size = size_of(encoder) if image_size is None else image_size
        found = open_images(images, model, size, labels, scaling_of(encoder))
        return embed_images(
            model,
            found.spread(_SMOKE) if smoke else found,
            out,
            batch_size=batch_size,
            overwrite=overwrite,
            source=encoder,
        )
