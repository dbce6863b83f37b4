"""The arrows of the design as a test: core <- io <- tasks <- flows <- deployments."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
CODE = sorted(
    path
    for folder in ("tasks", "flows", "deployments", "benchmarks")
    for path in (ROOT / folder).rglob("*.py")
)
FORBIDDEN = {
    "tasks/core": {
        "prefect",
        "mlflow",
        "sqlalchemy",
        "tasks.io",
        "flows",
        "deployments",
        "requests",
        "httpx",
        "random",
    }
    | {
        "great_expectations",
        "evidently",
        "os",
        "pathlib",
        "socket",
        "subprocess",
        "time",
        "yaml_io",
        "matplotlib",
    },
    "tasks/io": {"prefect", "flows", "deployments"},
    "tasks": {"flows", "deployments", "mlflow"},
    "flows": {"mlflow", "deployments", "sqlalchemy"},
}
LAZY = {"great_expectations", "evidently", "matplotlib", "plotly", "lightgbm", "xgboost"}
STANDARD_NAMES = {"config", "logging", "types", "statistics", "evaluate", "prefect", "mlflow"}


def relative(path):
    return path.relative_to(ROOT).as_posix()


def imports(tree):
    """Yield (module, is_at_top_level) of every import, `from a import b` as both a and a.b."""
    top = set(map(id, tree.body))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, id(node) in top
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"relative import at line {node.lineno}"
            yield node.module, id(node) in top
            for alias in node.names:
                yield f"{node.module}.{alias.name}", id(node) in top


def layer_of(path):
    name = relative(path)
    return next((layer for layer in FORBIDDEN if name.startswith(f"{layer}/")), None)


def within(module, forbidden):
    return next((name for name in forbidden if module == name or module.startswith(f"{name}.")), None)


@pytest.fixture(scope="module")
def trees():
    return {path: ast.parse(path.read_text(encoding="utf-8")) for path in CODE}


def test_imports_go_one_way(trees):
    broken = [
        f"{relative(path)} imports {module}"
        for path, tree in trees.items()
        if (layer := layer_of(path))
        for module, _ in imports(tree)
        if within(module, FORBIDDEN[layer])
    ]
    assert broken == []


def test_costly_libraries_are_imported_where_they_are_needed(trees):
    eager = [
        f"{relative(path)} imports {module} at its top"
        for path, tree in trees.items()
        for module, top in imports(tree)
        if top and within(module, LAZY)
    ]
    assert eager == []


def test_nothing_imports_deployments_but_itself(trees):
    wrong = [
        relative(path)
        for path, tree in trees.items()
        if not relative(path).startswith(("deployments/", "benchmarks/"))
        for module, _ in imports(tree)
        if within(module, {"deployments"})
    ]
    assert wrong == []


def test_core_reads_no_clock_and_no_global_generator(trees):
    wrong = []
    for path, tree in trees.items():
        if not relative(path).startswith("tasks/core/"):
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and ast.unparse(node) in {
                "datetime.now", "datetime.utcnow", "date.today", "np.random.seed", "np.random.rand",
                "np.random.normal", "np.random.randint", "np.random.shuffle", "np.random.choice", "pd.Timestamp.now",
            }:  # fmt: skip
                wrong.append(f"{relative(path)}:{node.lineno} {ast.unparse(node)}")
            if isinstance(node, ast.Call) and ast.unparse(node.func) in {"open", "eval", "exec", "print"}:
                wrong.append(f"{relative(path)}:{node.lineno} {ast.unparse(node.func)}()")
    assert wrong == []


def test_core_and_gates_never_catch_everything(trees):
    wrong = [
        f"{relative(path)}:{node.lineno}"
        for path, tree in trees.items()
        if relative(path).startswith("tasks/core/")
        for node in ast.walk(tree)
        if isinstance(node, ast.ExceptHandler)
        and (node.type is None or ast.unparse(node.type) in {"Exception", "BaseException"})
    ]
    assert wrong == []


def test_no_eval_pickle_or_unsafe_yaml_anywhere(trees):
    banned = {"eval", "exec", "pickle.load", "pickle.loads", "yaml.load", "cloudpickle.load", "joblib.load"}
    wrong = [
        f"{relative(path)}:{node.lineno} {ast.unparse(node.func)}"
        for path, tree in trees.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func) in banned
    ]
    assert wrong == []


def test_aliases_are_written_in_one_place(trees):
    writers = {
        relative(path)
        for path, tree in trees.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in {"set_alias", "delete_alias", "set_registered_model_alias"}
    }
    assert writers <= {"tasks/promote.py", "tasks/io/registry.py"}


def test_flow_files_are_short_stories(trees):
    for path in (ROOT / "flows").glob("*.py"):
        tree = trees[path]
        assert not [node.name for node in ast.walk(tree) if isinstance(node, ast.ClassDef)], path.name
        assert path.read_text().count("\n") <= 60, path.name
        assert path.stem not in STANDARD_NAMES, path.name


def test_files_are_at_most_250_lines(trees):
    long = {relative(path): n for path in trees if (n := path.read_text().count("\n")) > 250}
    assert long == {}


def function_sizes(trees):
    for path, tree in trees.items():
        for node in ast.walk(tree):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                body = node.body[1:] if ast.get_docstring(node) else node.body
                yield (
                    f"{relative(path)}:{node.name}",
                    (body[-1].end_lineno - body[0].lineno + 1) if body else 0,
                )


def test_functions_are_short(trees):
    assert {name: size for name, size in function_sizes(trees) if size > 40} == {}


def test_half_of_the_functions_have_at_most_twelve_lines(trees):
    sizes = sorted(size for _, size in function_sizes(trees))
    assert sizes[len(sizes) // 2] <= 12


GLOBAL_MLFLOW = re.compile(
    r"mlflow\.(set_\w+|start_run|active_run|log_\w+|register_model|create_experiment|(\w+\.)+log_model)"
    r"|set_(tracking|registry)_uri|(mlflow\.)?MlflowClient"
)
OWN_STORE = {"tasks/io/smoke_child.py"}
"""Run in a process of their own, whose environment names the store."""


def test_no_product_file_has_a_store_of_mlflow_that_all_threads_share(trees):
    wrong = []
    for path, tree in trees.items():
        if not relative(path).startswith(("tasks/", "flows/", "deployments/")) or relative(path) in OWN_STORE:
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and GLOBAL_MLFLOW.fullmatch(name := ast.unparse(node.func)):
                addressed = {one.arg for one in node.keywords} & {"tracking_uri"}
                if not name.endswith("MlflowClient") or not addressed:
                    wrong.append(f"{relative(path)}:{node.lineno} {name}")
            if isinstance(node, ast.Subscript | ast.Call) and re.match(
                r"os\.(environ\[|environ\.(setdefault|update|pop)\(|putenv\().*MLFLOW_(TRACKING|REGISTRY)_URI",
                ast.unparse(node),
            ):
                wrong.append(f"{relative(path)}:{node.lineno} {ast.unparse(node)}")
    assert wrong == []
