"""Count the house: files, lines, circles, names (``make house``); the architecture tests hold the same figures.

The counts read the source alone: nothing of the product is imported.
"""

import ast
import json
import sys
from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PRODUCT = ("tasks", "flows", "deployments")


@dataclass(frozen=True)
class SourceFile:
    """One Python file of the repository."""

    path: Path

    @property
    def name(self) -> str:
        return self.path.relative_to(ROOT).as_posix()

    @property
    def module(self) -> str:
        dotted = self.name.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        return f"evergreen.{dotted}"

    @property
    def package(self) -> str:
        return self.name.rpartition("/")[0]

    @cached_property
    def text(self) -> str:
        return self.path.read_text(encoding="utf-8")

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text)

    @property
    def lines(self) -> int:
        return self.text.count("\n")


def product_files() -> list[SourceFile]:
    """Return every Python file of the product, sorted by name."""
    return [SourceFile(path) for top in PRODUCT for path in sorted((ROOT / top).rglob("*.py"))]


def modules(files: list[SourceFile]) -> list[SourceFile]:
    """Return the files that are modules of their own: all but ``__init__.py``."""
    return [file for file in files if file.path.name != "__init__.py"]


def docstring_lines(tree: ast.Module) -> set[int]:
    """Return the line numbers of all strings that stand alone: docstrings of modules, classes, functions, constants."""
    return {
        line
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
        for line in range(node.lineno, node.end_lineno + 1)
    }


def code_lines(file: SourceFile) -> int:
    """Return the lines that are neither blank nor a comment nor part of a docstring."""
    strings = docstring_lines(file.tree)
    return sum(
        1
        for number, line in enumerate(file.text.splitlines(), start=1)
        if number not in strings and line.strip() and not line.lstrip().startswith("#")
    )


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def imported(file: SourceFile, known: dict[str, SourceFile], *, types: bool) -> set[str]:
    """Return the names of the product's files that a file imports, anywhere in it.

    Parameters
    ----------
    known : dict
        Files by dotted module name.
    types : bool
        Whether imports under ``TYPE_CHECKING`` count.
    """
    hidden = {
        id(child)
        for node in ast.walk(file.tree)
        if not types and is_type_checking(node)
        for child in ast.walk(node)
    }
    found = set()
    for node in ast.walk(file.tree):
        if id(node) in hidden:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                found.add(whole if whole in known else node.module)
    return {known[name].name for name in found if name in known} - {file.name}


def import_graph(files: list[SourceFile], *, types: bool = True) -> dict[str, set[str]]:
    """Return which file imports which, by name."""
    known = {file.module: file for file in files}
    return {file.name: imported(file, known, types=types) for file in files}


def package_graph(graph: dict[str, set[str]]) -> dict[str, set[str]]:
    """Return which package imports which; what a package and one inside it import of each other does not count."""
    packages: dict[str, set[str]] = defaultdict(set)
    for name, others in graph.items():
        own = name.rpartition("/")[0]
        packages[own] |= {
            package
            for other in others
            if not f"{(package := other.rpartition('/')[0])}/".startswith(f"{own}/")
            and not own.startswith(f"{package}/")
        }
    return dict(packages)


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Return the groups of nodes that lead back to each other (strongly connected, two or more), by Tarjan."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    groups: list[list[str]] = []

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for other in sorted(graph.get(node, ())):
            if other not in index:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], index[other])
        if low[node] == index[node]:
            group = []
            while not group or group[-1] != node:
                group.append(stack.pop())
            if len(group) > 1:
                groups.append(sorted(group))

    sys.setrecursionlimit(10_000)
    for node in sorted(graph):
        if node not in index:
            visit(node)
    return sorted(groups)


def classes_named_twice(files: list[SourceFile]) -> dict[str, list[str]]:
    """Return each name that more than one top-level class bears, with the files."""
    places: dict[str, list[str]] = defaultdict(list)
    for file in files:
        for node in file.tree.body:
            if isinstance(node, ast.ClassDef):
                places[node.name].append(file.name)
    return {name: where for name, where in sorted(places.items()) if len(where) > 1}


def function_sizes(files: list[SourceFile]) -> dict[str, int]:
    """Return the lines of each function's body, its docstring apart."""
    sizes = {}
    for file in files:
        for node in ast.walk(file.tree):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                body = node.body[1:] if ast.get_docstring(node) else node.body
                sizes[f"{file.name}:{node.name}:{node.lineno}"] = (
                    body[-1].end_lineno - body[0].lineno + 1 if body else 0
                )
    return sizes


def only_users(files: list[SourceFile], *, lines: int = 150) -> dict[str, str]:
    """Return the short modules that one other file alone imports, a file of the same folder, with that file."""
    users: dict[str, set[str]] = defaultdict(set)
    for name, others in import_graph(files).items():
        for other in others:
            users[other].add(name)
    short = {file.name for file in modules(files) if file.lines <= lines}
    return {
        name: next(iter(by))
        for name, by in sorted(users.items())
        if name in short
        and len(by) == 1
        and next(iter(by)).rpartition("/")[0] == name.rpartition("/")[0]
        and not next(iter(by)).endswith("__init__.py")
    }


def count_house() -> dict[str, object]:
    """Return every figure of the house."""
    files = product_files()
    graph = import_graph(files)
    sizes = function_sizes(files)
    support = sorted((ROOT / "tests" / "support").glob("*.py"))
    ordered = sorted(sizes.values())
    return {
        "modules": len(modules(files)),
        "lines": sum(file.lines for file in files),
        "code_lines": sum(code_lines(file) for file in files),
        "support_modules": len(support),
        "support_lines": sum(path.read_text(encoding="utf-8").count("\n") for path in support),
        "circles_of_files": circles(graph),
        "circles_of_packages": circles(package_graph(graph)),
        "classes_named_twice": classes_named_twice(files),
        "files_above_500_lines": {file.name: file.lines for file in files if file.lines > 500},
        "functions_above_40_lines": {name: size for name, size in sizes.items() if size > 40},
        "median_function_lines": ordered[len(ordered) // 2],
        "short_modules_with_one_sibling_user": only_users(files),
    }


if __name__ == "__main__":
    print(json.dumps(count_house(), indent=1))
