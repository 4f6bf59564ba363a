"""`neighbors`: what is alike in a set of images, what is there twice, and what is unlike all."""

import os
import pathlib
import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import keras
import numpy as np

from keras_ssl import _log
from keras_ssl._files import write_json
from keras_ssl._validation import check_count
from keras_ssl.data import ImageSet, fingerprint, from_arrays
from keras_ssl.data.sources import files
from keras_ssl.data.sources.folder import check_outside
from keras_ssl.data.sources.reading import Decoding, first
from keras_ssl.encoders import load_encoder
from keras_ssl.encoders.load import check_is_there
from keras_ssl.evaluation import extract
from keras_ssl.retrieval.duplicates import Pair, find_pairs, find_threshold, group
from keras_ssl.retrieval.embeddings import (
    Embeddings,
    is_embeddings,
    place_of,
    read_embeddings,
)
from keras_ssl.retrieval.extraction import (
    embed_images,
    fingerprint_encoder,
    identify,
    open_images,
)
from keras_ssl.retrieval.gallery import Tile, draw_rows
from keras_ssl.retrieval.parts import differing
from keras_ssl.retrieval.photos import read_photos
from keras_ssl.retrieval.search import Index, Nearest
from keras_ssl.retrieval.tables import write_table
from keras_ssl.runs import scaling_of, size_of, stage

# How the threshold is found, in neighbors.json.
_HOW = "artanh: the median of the similarities to the nearest + 7 * (median - lower quartile)"
# Rows of a picture: as many as one looks through.
_ROWS = 12
# A smoke test embeds so many images.
_SMOKE = 64


class Neighborhood(NamedTuple):
    """What `neighbors` found.

    Attributes:
        embeddings: The images and their features.
        queries: The paths that neighbors were found for: all images, or those that were asked for.
        nearest: The nearest of each query: rows of `embeddings`, and similarities.
        threshold: The similarity from which on images are nearly the same; `None` with queries.
        pairs: Images that are the same or nearly; empty with queries.
        groups: The same, as groups of rows.
        outliers: Rows of the images that are least similar to their nearest, the least similar
            first; empty with queries.
    """

    embeddings: Embeddings
    queries: list[str]
    nearest: Nearest
    threshold: float | None
    pairs: list[Pair]
    groups: list[list[int]]
    outliers: np.ndarray

    def __repr__(self) -> str:
        # Without thousands of paths and pairs.
        return (
            f"<Neighborhood: {len(self.queries)} of {len(self.embeddings.paths)} images, "
            f"{len(self.pairs)} pairs nearly the same, {len(self.outliers)} outliers>"
        )


def neighbors(
    embeddings: str | os.PathLike[str],
    images: str | os.PathLike[str] | None = None,
    *,
    queries: Sequence[str] | None = None,
    k: int = 10,
    out: str | os.PathLike[str] = "neighbors",
    threshold: float | None = None,
    outliers: int = 100,
    center: bool = False,
    encoder: str | os.PathLike[str] | None = None,
    image_size: int | None = None,
    batch_size: int = 128,
    overwrite: bool = False,
    smoke: bool = False,
    quiet: bool = False,
) -> Neighborhood:
    """Finds the images that are most alike, those that are there twice, and those unlike all.

    The folder OUT then holds gallery.png (images and their nearest), nearest.csv, and of all images
    duplicates.csv and duplicates.png (pairs that are the same file, the same pixels or nearly the
    same), groups.csv (the same in groups), outliers.csv and outliers.png (the least similar to
    their nearest), and neighbors.json (the settings and the threshold). The search is exact. With
    `queries` it holds queries.png, queries.csv and queries.json instead, and what was found of all
    images stays.

    Similarity is the cosine of two images' features, at most 1. What is high depends on the
    encoder: compare with others of the same set.

    Examples:
        keras-ssl neighbors features.npz --out neighbors
        keras-ssl neighbors runs/RUN photos/ --queries cat.jpg --k 20

    Args:
        embeddings: A file that `embed` wrote. Or an encoder, as for `embed`; then `images` are
            embedded first, to OUT/embeddings.npz, which the same call uses again.
        images: A folder of images, as for `embed`. Needed with an encoder, or for pictures where
            the embeddings are of images that are not files.
        queries: Finds the nearest of these images only, without duplicates and outliers. Each is a
            path in the embeddings or a unique end of one, the number of a row, or an image file
            that is not among them.
        k: Number of nearest images of each.
        out: The folder that the tables and pictures go to; those of an earlier call are replaced.
        threshold: Similarity from which on two images are nearly the same, up to 1. Default: far
            above most images' similarities to their nearest; see `find_threshold`. Give one where
            many images have doubles: then the default is too high.
        outliers: Number of the least similar images in the table.
        center: Whether the mean of all features is subtracted first. Similarities then spread
            around 0, but fewer duplicates stand out (see `keras_ssl.retrieval.Index`).
        encoder: Embeds queries that are not among the embeddings. Default: the encoder that the
            embeddings were made with, where it was.
        image_size: See `embed`; with an encoder only.
        batch_size: Images per step, when images are embedded.
        overwrite: Whether OUT/embeddings.npz may be replaced if it is of another encoder or other
            images.
        smoke: Embeds or uses at most 64 of the images, to try the command.
        quiet: Says only warnings.

    Returns:
        What was found, by rows of the embeddings.

    Raises:
        ValueError: if there are no embeddings, no encoder or no images; if a query is not found; if
            a number is out of its range.
    """
    k, outliers = check_count("k", k), check_count("outliers", outliers)
    batch_size = check_count("batch_size", batch_size)
    if threshold is not None and not _is_similarity(threshold):
        raise ValueError(
            "`threshold` must be a similarity above -1 and up to 1. Received: "
            f"threshold={threshold!r}"
        )
    if isinstance(queries, (str, bytes)):
        raise TypeError(f"`queries` must be a sequence of texts. Received: queries={queries!r}")
    if queries is not None and not len(queries):
        raise ValueError(f"`queries` must name an image at least. Received: queries={queries!r}")
    folder = pathlib.Path(out)
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"`out` must be a folder. Received: out={os.fspath(out)!r}, a file")
    check_outside("out", folder, images)
    with _log.shown(quiet):
        found, pictures, model = _given(
            embeddings, images, folder, image_size, batch_size, overwrite, smoke, encoder
        )
        with stage(f"reading {len(found.paths):,} rows of {found.features.shape[1]} numbers"):
            index = Index(found.features, center)
        source = getattr(embeddings, "name", embeddings)  # A path, or the name of a Keras model.
        settings = {"embeddings": str(source), "k": k, "center": center}
        drawn: dict[str, list[list[_Cell]]] = {}
        gallery, table, about = "gallery.png", "nearest.csv", "neighbors.json"
        if queries is not None:
            gallery, table, about = "queries.png", "queries.csv", "queries.json"
            rows = [_find(found, str(query)) for query in queries]
            result = _asked(found, index, rows, k, model, encoder)
            folder.mkdir(parents=True, exist_ok=True)
        else:
            folder.mkdir(parents=True, exist_ok=True)
            _warn_of_missing(found)
            result = _all(found, index, k, threshold, outliers)
            how = "given" if threshold is not None else _HOW
            settings |= {"threshold": result.threshold, "threshold_is": how}
            drawn["duplicates.png"] = _write_doubles(folder, result)
            drawn["outliers.png"] = _write_outliers(folder, result)
        drawn[gallery] = _write_nearest(folder / table, result)
        _log.say(
            f"nearest: of {len(result.queries):,} images in {table}, some of them in {gallery}"
        )
        write_json(folder / about, settings)
        _draw(folder, drawn, found, pictures, encoder)
        _log.say(f"everything is in {folder}")
        return result


def _is_similarity(value: Any) -> bool:
    is_number = isinstance(value, (int, float, np.number)) and not isinstance(value, bool)
    return is_number and -1 < value <= 1


# --- What is given --------------------------------------------------------------------------------


def _given(
    embeddings: Any,
    images: Any,
    folder: pathlib.Path,
    image_size: int | None,
    batch_size: int,
    overwrite: bool,
    smoke: bool,
    encoder: Any,
) -> tuple[Embeddings, ImageSet | None, keras.Model | None]:
    """The embeddings, read or made; the images, if they were given; the encoder, if it was."""
    if is_embeddings(embeddings):
        found = read_embeddings(embeddings)
        if smoke:
            chosen = slice(0, None, -(-len(found.paths) // _SMOKE))
            labels = None if found.labels is None else found.labels[chosen]
            found = found._replace(
                paths=found.paths[chosen], features=found.features[chosen], labels=labels
            )
        are_files = place_of(str(found.paths[0])) is None
        if are_files != (images is None):
            raise ValueError(
                "`images` must be left out: the embeddings say where the files are. "
                f"Received: images={images!r}"
                if are_files
                else "`images` must be given: the embeddings are of images that are not files, "
                "which pictures need. Received: images=None"
            )
        shape = found.about.get("image_shape") or (None,) * 3
        if images is None:
            return found, None, None
        if not isinstance(images, ImageSet):
            from keras_ssl.data import load

            scaling = _scaling(found, encoder)
            images = load(images, shape[0], shape[2], labels=False, scaling=scaling).train
        return found, _embedded(images, found), None
    if images is None:
        raise ValueError(
            "`images` must be given with an encoder; a file of embeddings ends in .npz, .csv or "
            f".parquet. Received: embeddings={str(embeddings)!r}, images=None"
        )
    check_is_there("embeddings", embeddings)
    model = load_encoder(embeddings)
    size = size_of(embeddings) if image_size is None else image_size
    pictures = open_images(images, model, size, scaling=scaling_of(embeddings))
    if smoke:
        pictures = pictures.spread(_SMOKE)
    file = folder / "embeddings.npz"
    if file.is_file() and not overwrite:
        earlier = read_embeddings(file)
        if not differing(earlier.about.get("identity") or {}, identify(model, pictures)):
            _log.say(f"the images were embedded before, in {file}")
            return earlier, pictures, model
        raise ValueError(
            f"`out` must hold no embeddings of another encoder or other images: name another "
            f"folder, or pass `overwrite`. Received: out={os.fspath(folder)!r}"
        )
    found = embed_images(
        model, pictures, file, batch_size=batch_size, overwrite=overwrite, source=embeddings
    )
    return found, pictures, model


def _embedded(images: ImageSet, embeddings: Embeddings) -> ImageSet:
    """The images that were embedded, which `embed --smoke` chooses, or raises if these are others.

    Where one side has labels and the other has none, only the number and the shape are compared.
    """
    said = (embeddings.about.get("identity") or {}).get("list of images")
    if said is None:  # A file of an earlier version, or a table.
        return images
    in_both = images.has_labels == (embeddings.labels is not None)
    for some in (images, images.spread(_SMOKE)):
        ours = fingerprint(some)
        if ours == said or (not in_both and ours.split(",")[0] == said.split(",")[0]):
            return some
    raise ValueError(
        f"`images` must be those that were embedded, {said}. Received: {fingerprint(images)}"
    )


def _find(embeddings: Embeddings, query: str) -> int | pathlib.Path:
    """The row of a query, or its file if it is not among the embeddings."""
    same = np.flatnonzero(embeddings.paths == query)
    if len(same):
        return int(same[0])
    if query.isdecimal() and int(query) < len(embeddings.paths):
        return int(query)
    path = pathlib.Path(query)
    if path.is_file():
        # The same file by another path: the names are compared first, which touches no disk.
        for row in _ending_in(embeddings, path.name):
            file = embeddings.file(row)
            if os.path.isfile(file) and os.path.samefile(file, path):
                return row
        return path
    rows = _ending_in(embeddings, os.path.normpath(query))
    if len(rows) == 1:
        return rows[0]
    some = f", which {len(rows):,} paths end in" if rows else ", which is none of them"
    raise ValueError(
        "`queries` must be paths in the embeddings or unique ends of such, numbers of rows (from 0 "
        f"to {len(embeddings.paths) - 1}), or image files. Received: {query!r}{some}"
    )


def _ending_in(embeddings: Embeddings, end: str) -> list[int]:
    """The rows whose path ends in these names of folders and a file."""
    fits = np.char.endswith(embeddings.paths, os.sep + end) | (embeddings.paths == end)
    return [int(row) for row in np.flatnonzero(fits)]


def _scaling(embeddings: Embeddings, encoder: Any) -> Any:
    """How the measurements that were embedded were scaled; `None` for photos."""
    about = embeddings.about
    # Earlier versions did not note it, nor does a CSV file; the run of the encoder may have.
    source = encoder if encoder is not None else about.get("encoder")
    scaling = about["scaling"] if "scaling" in about else scaling_of(source)
    return scaling or None


def _encoder_of(embeddings: Embeddings, encoder: Any) -> keras.Model:
    """The encoder that made the embeddings, or raises if another is there."""
    source = embeddings.about.get("encoder") if encoder is None else encoder
    if source is None:
        raise ValueError(
            "`encoder` must be given for a query that is not among the embeddings, which do not "
            "say where theirs is. Received: encoder=None"
        )
    model = load_encoder(source)
    ours, theirs = fingerprint_encoder(model), embeddings.about.get("fingerprint")
    if theirs not in (None, ours):
        raise ValueError(
            "`encoder` must be the one that the embeddings were made with. "
            f"Received: {source} with weights {ours} where theirs are {theirs}"
        )
    return model


# --- What is found --------------------------------------------------------------------------------


def _asked(
    embeddings: Embeddings,
    index: Index,
    places: Sequence[int | pathlib.Path],
    k: int,
    model: keras.Model | None,
    encoder: Any,
) -> Neighborhood:
    """The nearest of some images, which are rows or files.

    `model` is the encoder that made the embeddings just now; else it is loaded for files.
    """
    k = min(k, len(index) - 1)
    parts: list[Nearest] = []
    if model is None and any(isinstance(place, pathlib.Path) for place in places):
        model = _encoder_of(embeddings, encoder)
    for place in places:
        if isinstance(place, int):
            parts.append(index.nearest_of(np.array([place]), k))
        else:
            parts.append(index.nearest(_features_of(place, model, embeddings, encoder), k))
    names = [str(embeddings.paths[p]) if isinstance(p, int) else str(p) for p in places]
    nearest = Nearest(*map(np.concatenate, zip(*parts, strict=True)))
    return Neighborhood(embeddings, names, nearest, None, [], [], np.empty(0, np.int64))


def _features_of(
    path: pathlib.Path, model: keras.Model, embeddings: Embeddings, source: Any
) -> np.ndarray:
    """The features of one image file, (1, D); `source` is where the encoder was loaded from."""
    size, _, channels = embeddings.about.get("image_shape") or model.input_shape[1:]
    size, scaling = size or size_of(source) or 128, _scaling(embeddings, source)
    try:
        pixels = Decoding(size, channels or 3, scaling).read(os.fspath(path))
    except files.UNREADABLE as error:
        raise ValueError(
            f"`queries` must be images that can be read. Received: {str(path)!r}; "
            f"{type(error).__name__}: {error}"
        ) from error
    return extract(model, from_arrays(pixels[None])).values


def _warn_of_missing(embeddings: Embeddings) -> None:
    """Warns if files are not where they were embedded: their content cannot be compared."""
    rows = [row for row, path in enumerate(embeddings.paths) if place_of(str(path)) is None]
    names = [embeddings.file(row) for row in rows]
    missing = [name for name in names if not files.has_scheme(name) and not os.path.exists(name)]
    if missing:
        warnings.warn(
            f"{len(missing)} of {len(names)} files are not where they were embedded: their content "
            f"is not compared, and their pictures are gray: {first(missing)}",
            stacklevel=3,
        )


def _all(
    embeddings: Embeddings, index: Index, k: int, threshold: float | None, outliers: int
) -> Neighborhood:
    """The nearest of all images, duplicates and outliers."""
    rows = np.arange(len(index))
    with stage(f"searching for the nearest {k} of {len(index):,} images"):
        nearest = index.nearest_of(rows, k)
    if threshold is None:
        threshold = find_threshold(nearest.similarities[:, 0])
    with stage("comparing files"):
        pairs = find_pairs(embeddings, nearest, threshold)
    groups = group(pairs, len(index))
    order = np.argsort(nearest.similarities.mean(axis=1), kind="stable")[:outliers]
    names = [str(path) for path in embeddings.paths]
    return Neighborhood(embeddings, names, nearest, threshold, pairs, groups, order)


# --- What is written ------------------------------------------------------------------------------


class _Cell(NamedTuple):
    """A photo in a picture: a row of the embeddings or a file, and the lines of its caption."""

    photo: int | str
    lines: list[str]


def _name(path: Any) -> str:
    return pathlib.PurePath(str(path)).name


def _write_nearest(file: pathlib.Path, result: Neighborhood) -> list[list[_Cell]]:
    """Writes the nearest of each query; returns the rows of a picture, of an even sample."""
    paths, (indices, similarities) = result.embeddings.paths, result.nearest
    write_table(
        file,
        ["path", "rank", "neighbor", "similarity"],
        (
            (query, rank + 1, paths[row], f"{similarity:.4f}")
            for query, rows, values in zip(result.queries, indices, similarities, strict=True)
            for rank, (row, similarity) in enumerate(zip(rows, values, strict=True))
        ),
    )
    count = len(result.queries)
    shown = np.unique(np.linspace(0, count - 1, min(count, _ROWS)).round().astype(int))
    cells = []
    for i in shown:
        query = result.queries[i]
        places = np.flatnonzero(paths == query)
        own = _Cell(int(places[0]) if len(places) else query, ["query", _name(query)])
        found = [
            _Cell(int(row), [f"{value:.3f}", _name(paths[row])])
            for row, value in zip(indices[i, :10], similarities[i], strict=False)
        ]
        cells.append([own, *found])
    return cells


def _write_doubles(folder: pathlib.Path, result: Neighborhood) -> list[list[_Cell]]:
    """duplicates.csv, groups.csv; returns the rows of duplicates.png, some pairs of each kind."""
    paths = result.embeddings.paths
    number = {row: i for i, rows in enumerate(result.groups) for row in rows}
    write_table(
        folder / "duplicates.csv",
        ["group", "kind", "similarity", "path_1", "path_2"],
        (
            (number[p.row_1], p.kind, f"{p.similarity:.4f}", paths[p.row_1], paths[p.row_2])
            for p in result.pairs
        ),
    )
    write_table(
        folder / "groups.csv",
        ["group", "path"],
        ((i, paths[row]) for i, rows in enumerate(result.groups) for row in rows),
    )
    counts: dict[str, int] = {}
    for pair in result.pairs:
        counts[pair.kind] = counts.get(pair.kind, 0) + 1
    text = ", ".join(f"{count:,} {kind}" for kind, count in counts.items()) or "none"
    _log.say(
        f"duplicates: {text} (pairs; near from a similarity of {result.threshold:.3f} on; "
        f"`threshold` sets it); groups: {len(result.groups):,}"
    )
    near = [pair for pair in result.pairs if pair.kind == "near"]
    # The most similar and the least: between them, one sees whether the threshold is right.
    step = -(-len(near) // (4 * _ROWS)) or 1
    chosen = [*[p for p in result.pairs if p.kind != "near"][:_ROWS], *near[::step]]
    cells = [
        [
            _Cell(pair.row_1, [f"{pair.similarity:.3f} {pair.kind}", _name(paths[pair.row_1])]),
            _Cell(pair.row_2, ["", _name(paths[pair.row_2])]),
        ]
        for pair in chosen
    ]
    return [sum(cells[i : i + 4], []) for i in range(0, len(cells), 4)]


def _write_outliers(folder: pathlib.Path, result: Neighborhood) -> list[list[_Cell]]:
    """outliers.csv; returns the rows of outliers.png, of the first."""
    paths, means = result.embeddings.paths, result.nearest.similarities.mean(axis=1)
    rows = [(paths[row], f"{means[row]:.4f}") for row in result.outliers]
    write_table(folder / "outliers.csv", ["path", "mean_similarity"], rows)
    cells = [
        _Cell(int(row), [f"{means[row]:.3f}", _name(paths[row])])
        for row in result.outliers[: 4 * 10]
    ]
    return [cells[i : i + 10] for i in range(0, len(cells), 10)]


def _draw(
    folder: pathlib.Path,
    pictures: dict[str, list[list[_Cell]]],
    embeddings: Embeddings,
    images: ImageSet | None,
    encoder: Any,
) -> None:
    """Draws pictures by their names; those without photos are removed."""
    photos = {cell.photo for rows in pictures.values() for row in rows for cell in row}
    with stage(f"drawing {len(photos)} photos"):
        pixels = read_photos(photos, embeddings, images, _scaling(embeddings, encoder))
        for name, rows in pictures.items():
            tiles = [[Tile(pixels[cell.photo], cell.lines) for cell in row] for row in rows]
            if tiles:
                has_queries = name in ("gallery.png", "queries.png")
                draw_rows(folder / name, tiles, lead=1 if has_queries else 0)
            else:
                (folder / name).unlink(missing_ok=True)
