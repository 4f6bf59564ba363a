"""The description of the package, whose links have to work outside the repository."""

import configparser
import importlib.util
import pathlib
import re

import setuptools

ROOT = pathlib.Path(__file__).parents[1]


def test_links_lead_into_the_repository(monkeypatch):
    given = {}
    monkeypatch.setattr(setuptools, "setup", given.update)
    spec = importlib.util.spec_from_file_location("setup", ROOT / "setup.py")
    spec.loader.exec_module(importlib.util.module_from_spec(spec))
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    address = config["metadata"]["url"]

    links = re.findall(r"(!?)\[[^]]*\]\(([^)]*)\)", (ROOT / "README.md").read_text())
    found = re.findall(r"(!?)\[[^]]*\]\(([^)]*)\)", given["long_description"])
    assert len(links) == len(found) > 20
    for (is_picture, here), (_, there) in zip(links, found, strict=True):
        kind = "raw" if is_picture else "blob"
        assert there == (here if here.startswith("https:") else f"{address}/{kind}/main/{here}")
