"""What the code imports is declared, as ranges that a team can install beside its own; the lock alone is exact."""

import re
import sys
import tomllib
from importlib.metadata import packages_distributions

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.house import ROOT, product_files
from tests.test_architecture import imports

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
NEEDED = [Requirement(each) for each in PROJECT["dependencies"]]
OFFERED = [Requirement(each) for name, extra in EXTRAS.items() if name != "dev" for each in extra]
LOCK = (ROOT / "requirements.lock").read_text()
LOCKED = {
    canonicalize_name(name): version for name, version in re.findall(r"^([\w.-]+)==([^ ]+)", LOCK, re.M)
}


def names(requirements):
    return {canonicalize_name(each.name) for each in requirements}


def imported_libraries():
    """Return the libraries that the product imports, with the distributions that may bring each."""
    found = {
        module.partition(".")[0]
        for file in product_files()
        for module, _ in imports(file.tree)
        if module.partition(".")[0] not in sys.stdlib_module_names | {"evergreen"}
    }
    distributions = packages_distributions()
    return {name: {canonicalize_name(each) for each in distributions.get(name, [name])} for name in found}


def test_every_library_that_is_imported_is_declared():
    libraries = imported_libraries()
    assert {"prefect", "mlflow", "psutil"} < set(libraries)
    declared = names(NEEDED) | names(OFFERED)
    assert {} == {name: by for name, by in libraries.items() if not by & declared}


def test_what_is_imported_without_an_extra_needs_none():
    only_offered = {name for name, by in imported_libraries().items() if not by & names(NEEDED)}
    assert {"psycopg", "lightgbm"} >= only_offered


@pytest.mark.parametrize("requirement", [*NEEDED, *OFFERED], ids=str)
def test_a_requirement_is_a_range(requirement):
    operators = {each.operator for each in requirement.specifier}
    assert operators <= {">=", "<"}
    assert ">=" in operators


def test_the_lock_is_exact_and_within_the_ranges():
    assert names(NEEDED) <= set(LOCKED)
    assert [] == [
        f"{each} {LOCKED[canonicalize_name(each.name)]}"
        for each in [*NEEDED, *OFFERED]
        if canonicalize_name(each.name) in LOCKED
        and not each.specifier.contains(LOCKED[canonicalize_name(each.name)])
    ]


def test_the_lock_names_no_host():
    packages = re.compile(r"[A-Za-z0-9#]|    #|    --hash=|$")  # no option stands at the head of a line
    assert [] == [line for line in LOCK.splitlines() if "://" in line or not packages.match(line)]
