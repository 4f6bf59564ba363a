import configparser
import pathlib

from packaging.requirements import Requirement
from packaging.version import Version

TESTS = pathlib.Path(__file__).parent


def versions(text, operator):
    """The version that each requirement of a text has after `operator`, by name."""
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    bounds = [(one.name, bound) for one in map(Requirement, lines) for bound in one.specifier]
    return {name: Version(bound.version) for name, bound in bounds if bound.operator == operator}


def test_the_lowest_versions_that_are_allowed_are_those_that_are_tested():
    config = configparser.ConfigParser()
    config.read(TESTS.parent / "setup.cfg")
    extras = config["options.extras_require"]
    allowed = versions(config["options"]["install_requires"], ">=")
    # The extras that the tests install, and parquet, whose newest version needs a newer NumPy.
    for extra in ("studies", "tfds", "parquet"):
        allowed |= versions(extras[extra], ">=")
    assert allowed == versions((TESTS / "constraints-lowest.txt").read_text(), "==")
