"""What setup.cfg cannot say: on PyPI, the links of the README lead into the repository."""

import configparser
import pathlib
import re

from setuptools import setup

ROOT = pathlib.Path(__file__).parent


def description() -> str:
    """Returns the README, with the repository's address before each relative link."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    address = config["metadata"]["url"]
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    text = re.sub(r"(!\[[^]]*\]\()(?!https:)", rf"\1{address}/raw/main/", text)
    return re.sub(r"\]\((?!https:)", f"]({address}/blob/main/", text)


setup(long_description=description(), long_description_content_type="text/markdown")
