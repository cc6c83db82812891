"""One list of direct dependencies: pyproject.toml, requirements.lock and environment.yml agree."""

import re
import tomllib
from pathlib import Path

import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
CONDA_NAMES = {"pytorch": "torch", "matplotlib-base": "matplotlib", "bleach-with-css": "bleach"}


def direct():
    """Return requirement by name for what pyproject.toml asks for, development included."""
    lines = PROJECT["project"]["dependencies"] + PROJECT["dependency-groups"]["dev"]
    requirements = [Requirement(line) for line in lines]
    return {canonicalize_name(r.name): r for r in requirements}


def locked():
    """Return pinned version by name."""
    pins = {}
    for line in (ROOT / "requirements.lock").read_text().splitlines():
        line = line.split("#")[0].split(";")[0].strip().rstrip("\\").strip()
        if line and not line.startswith("-"):
            name, version = line.split("==")
            pins[canonicalize_name(name)] = version.strip()
    return pins


def conda():
    """Return requirement by PyPI name of environment.yml, its pip section included."""
    requirements = {}
    for entry in yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]:
        for line in entry["pip"] if isinstance(entry, dict) else [entry]:
            if line.startswith(("-e ", ".")):
                continue
            # conda's "name=1.2" pins a prefix, which PyPI writes "name==1.2.*"
            requirement = Requirement(re.sub(r"(?<![=<>!~])=(?!=)([\w.]+)", r"==\1.*", line))
            name = canonicalize_name(requirement.name)
            requirements[CONDA_NAMES.get(name, name)] = requirement
    return requirements


def test_there_are_dependencies_to_compare():
    assert {"torch", "scikit-learn", "pytest", "papermill"} <= direct().keys()


def test_lock_pins_every_direct_dependency_within_its_bounds():
    pins = locked()
    assert direct().keys() - pins.keys() == set()
    for name, requirement in direct().items():
        assert requirement.specifier.contains(pins[name]), f"{requirement} but {pins[name]} locked"


def test_lock_pins_versions_and_nothing_else():
    for name, version in locked().items():
        assert re.fullmatch(r"\d+(\.\w+)*(\+[\w.]+)?", version), f"{name}=={version}"


def test_conda_lists_the_same_direct_dependencies():
    extras = {"python", "pip"}
    assert conda().keys() - extras == direct().keys()


def test_conda_allows_what_pyproject_allows():
    environment = conda()
    assert str(environment.pop("python").specifier) == PROJECT["project"]["requires-python"]
    for name, requirement in direct().items():
        assert environment[name].specifier == requirement.specifier, name
