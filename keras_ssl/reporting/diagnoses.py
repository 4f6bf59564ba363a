"""What the doctor found, run by run."""

import html
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from keras_ssl.inspection.diagnosis import RECORD, TEXT
from keras_ssl.inspection.events import Events
from keras_ssl.reporting.markup import escape
from keras_ssl.reporting.tables import not_better


def diagnosis_section(events: Mapping[str, Events], folders: Mapping[str, pathlib.Path]) -> str:
    """Every illness that the doctor found, and when; `folders` are those of the runs, by name."""
    parts, same_or_worse = ["<h2>Diagnosis</h2>"], not_better(folders)
    for name, run in events.items():
        parts.append(f"<h3>{escape(name)}</h3>")
        if not run.scalars:
            parts.append(
                "<p>This run holds no figures: it ended before its first look, or its event files "
                "are damaged.</p>"
            )
        looks, texts = run.records.get(RECORD), run.texts.get(TEXT)
        if looks:
            parts.append(_illnesses(looks, name in same_or_worse))
        elif texts:
            parts.append(_texts(texts))
        else:
            parts.append("<p>No CollapseDoctor took part in this run.</p>")
    return "".join(parts)


def _illnesses(
    looks: Sequence[tuple[int, Sequence[Mapping[str, Any]]]], is_not_better: bool
) -> str:
    """Every illness as it was first found."""
    first: dict[str, tuple[int, Mapping[str, Any]]] = {}
    for step, diagnoses in looks:
        for diagnosis in diagnoses:
            first.setdefault(diagnosis["name"], (step, diagnosis))
    if not first and is_not_better:
        return (
            f'<div class="ill">No illness at any of {len(looks)} looks, but the trained encoder '
            "has no better kNN than the untrained one: it learned nothing that tells these classes "
            "apart. Train longer, or try weaker augmentations.</div>"
        )
    if not first:
        return f'<div class="healthy">Healthy at all {len(looks)} looks.</div>'
    latest = {diagnosis["name"] for diagnosis in looks[-1][1]}
    return "".join(
        f'<div class="ill"><b>{escape(name[0].upper() + name[1:])}.</b> (first seen at {step}'
        f"{'' if name in latest else ', later gone'}) "
        f"{escape(diagnosis['finding'])} {escape(diagnosis['remedy'])}</div>"
        for name, (step, diagnosis) in first.items()
    )


def _texts(texts: Sequence[tuple[int, str]]) -> str:
    """What the doctor wrote in a run before diagnoses were records: each text where it began."""
    first: dict[str, int] = {}
    for step, text in texts:
        first.setdefault(text, step)
    return "".join(f"<p>At {step}: {html.escape(text)}</p>" for text, step in first.items())
