"""The arrows of the design as a test: core <- io <- runtime <- tasks <- flows <- deployments; and its shape."""

import ast
import re

from tests.house import (
    ROOT,
    SourceFile,
    circles,
    classes_named_twice,
    function_sizes,
    import_graph,
    modules,
    only_users,
    package_graph,
    product_files,
)

PRODUCT = product_files()
CODE = [*PRODUCT, *(SourceFile(path) for path in sorted((ROOT / "benchmarks").glob("*.py")))]
FORBIDDEN = {
    "tasks/core": {
        "prefect",
        "mlflow",
        "sqlalchemy",
        "requests",
        "httpx",
        "random",
        "great_expectations",
        "evidently",
        "os",
        "pathlib",
        "socket",
        "subprocess",
        "time",
        "matplotlib",
        "evergreen.tasks.io",
        "evergreen.tasks.runtime",
        "evergreen.flows",
        "evergreen.deployments",
    },
    "tasks/io": {"prefect", "evergreen.tasks.runtime", "evergreen.flows", "evergreen.deployments"},
    "tasks/runtime": {"mlflow", "evergreen.flows", "evergreen.deployments"},
    "tasks": {"mlflow", "evergreen.flows", "evergreen.deployments"},
    "flows": {"mlflow", "sqlalchemy", "evergreen.deployments"},
}
LAZY = {"great_expectations", "evidently", "matplotlib", "plotly", "lightgbm", "xgboost"}
STANDARD_NAMES = {"config", "logging", "types", "statistics", "evaluate", "prefect", "mlflow"}
ALIAS_WRITERS = {"tasks/io/alias_transaction.py", "tasks/io/mlflow_store/registry.py"}


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


def layer_of(file):
    return next((layer for layer in FORBIDDEN if file.name.startswith(f"{layer}/")), None)


def within(module, forbidden):
    return next((name for name in forbidden if module == name or module.startswith(f"{name}.")), None)


def in_core(file):
    return file.name.startswith("tasks/core/")


def test_imports_go_one_way():
    broken = [
        f"{file.name} imports {module}"
        for file in PRODUCT
        if (layer := layer_of(file))
        for module, _ in imports(file.tree)
        if within(module, FORBIDDEN[layer])
    ]
    assert broken == []


def test_runtime_imports_no_task():
    core_io_runtime = ("evergreen.tasks.core", "evergreen.tasks.io", "evergreen.tasks.runtime")
    broken = [
        f"{file.name} imports {module}"
        for file in PRODUCT
        if file.name.startswith("tasks/runtime/")
        for module, _ in imports(file.tree)
        if module.startswith("evergreen.tasks.") and not module.startswith(core_io_runtime)
    ]
    assert broken == []


def test_costly_libraries_are_imported_where_they_are_needed():
    eager = [
        f"{file.name} imports {module} at its top"
        for file in CODE
        for module, top in imports(file.tree)
        if top and within(module, LAZY)
    ]
    assert eager == []


def test_nothing_imports_deployments_but_itself():
    wrong = [
        file.name
        for file in CODE
        if not file.name.startswith(("deployments/", "benchmarks/"))
        for module, _ in imports(file.tree)
        if within(module, {"evergreen.deployments"})
    ]
    assert wrong == []


def test_code_is_imported_by_the_one_name_of_its_package():
    wrong = [
        f"{file.name} imports {module}"
        for file in CODE
        for module, _ in imports(file.tree)
        if within(module, {"tasks", "flows", "deployments"})
    ]
    assert wrong == []


def test_files_and_packages_have_no_circle_of_imports():
    graph = import_graph(PRODUCT)
    assert circles(graph) == []
    assert circles(package_graph(graph)) == []


def test_no_class_name_stands_for_two_classes():
    assert classes_named_twice(CODE) == {}


def test_every_file_of_tasks_defines_a_prefect_task():
    without = [
        file.name
        for file in modules(PRODUCT)
        if file.package == "tasks" and not re.search(r"\bstage_task\(", file.text)
    ]
    assert without == []


def test_core_reads_no_clock_and_no_global_generator():
    moments = {"datetime.now", "datetime.utcnow", "date.today", "pd.Timestamp.now"}
    draws = {f"np.random.{name}" for name in ("seed", "rand", "normal", "randint", "shuffle", "choice")}
    wrong = []
    for file in filter(in_core, PRODUCT):
        for node in ast.walk(file.tree):
            if isinstance(node, ast.Attribute) and ast.unparse(node) in moments | draws:
                wrong.append(f"{file.name}:{node.lineno} {ast.unparse(node)}")
            if isinstance(node, ast.Call) and ast.unparse(node.func) in {"open", "eval", "exec", "print"}:
                wrong.append(f"{file.name}:{node.lineno} {ast.unparse(node.func)}()")
    assert wrong == []


def test_no_file_of_property_tests_draws_from_the_global_generator():
    generators = {"random", "secrets"}
    wrong = []
    for path in sorted((ROOT / "tests").rglob("*.py")):
        names = {
            name.partition(".")[0]
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, (ast.Import, ast.ImportFrom))
            for name in (
                [node.module or ""] if isinstance(node, ast.ImportFrom) else [a.name for a in node.names]
            )
        }
        if "hypothesis" in names and names & generators:
            wrong.append(str(path.relative_to(ROOT)))
    assert wrong == []


def test_core_and_gates_never_catch_everything():
    wrong = [
        f"{file.name}:{node.lineno}"
        for file in filter(in_core, PRODUCT)
        for node in ast.walk(file.tree)
        if isinstance(node, ast.ExceptHandler)
        and (node.type is None or ast.unparse(node.type) in {"Exception", "BaseException"})
    ]
    assert wrong == []


def test_no_eval_pickle_or_unsafe_yaml_anywhere():
    banned = {"eval", "exec", "pickle.load", "pickle.loads", "yaml.load", "cloudpickle.load", "joblib.load"}
    wrong = [
        f"{file.name}:{node.lineno} {ast.unparse(node.func)}"
        for file in CODE
        for node in ast.walk(file.tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func) in banned
    ]
    assert wrong == []


def test_aliases_are_written_in_one_place():
    writers = {
        file.name
        for file in CODE
        for node in ast.walk(file.tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in {"set_alias", "delete_alias", "set_registered_model_alias"}
    }
    assert writers <= ALIAS_WRITERS


def test_flow_files_are_short_stories():
    for file in (file for file in PRODUCT if file.package == "flows"):
        assert not [node.name for node in ast.walk(file.tree) if isinstance(node, ast.ClassDef)], file.name
        assert file.lines <= 60, file.name
        assert file.path.stem not in STANDARD_NAMES, file.name


def test_files_are_at_most_500_lines():
    assert {file.name: file.lines for file in PRODUCT if file.lines > 500} == {}


def test_functions_are_short():
    assert {name: size for name, size in function_sizes(CODE).items() if size > 40} == {}


def test_short_modules_serve_more_than_one_sibling():
    assert set(only_users(PRODUCT)) - SEAMS == set()


SEAMS = {
    # a group of commands, a flow or a family of checks each: found where its name says
    "deployments/cli/project.py",
    "flows/challenge.py",
    "flows/reconcile.py",
    "flows/rollback.py",
    "flows/train.py",
    "flows/validate.py",
    "tasks/core/validation/baseline.py",
    "tasks/core/validation/operations.py",
    "tasks/core/validation/probabilities.py",
    # a section of the configuration each
    "tasks/core/config/retraining.py",
    # one idea each, beside a file that is long enough
    "deployments/service/shadows.py",
    "tasks/core/data/strategy.py",
    "tasks/io/plugins.py",
    "tasks/io/outcome_sources.py",
}
"""Short modules that one sibling alone imports, and stay apart."""

GLOBAL_MLFLOW = re.compile(
    r"mlflow\.(set_\w+|start_run|active_run|log_\w+|register_model|create_experiment|(\w+\.)+log_model)"
    r"|set_(tracking|registry)_uri|(mlflow\.)?MlflowClient"
)
OWN_STORE = {"tasks/io/smoke_child.py"}
"""Run in a process of their own, whose environment names the store."""


def test_no_product_file_has_a_store_of_mlflow_that_all_threads_share():
    wrong = []
    for file in PRODUCT:
        if file.name in OWN_STORE:
            continue
        for node in ast.walk(file.tree):
            if isinstance(node, ast.Call) and GLOBAL_MLFLOW.fullmatch(name := ast.unparse(node.func)):
                addressed = {one.arg for one in node.keywords} & {"tracking_uri"}
                if not name.endswith("MlflowClient") or not addressed:
                    wrong.append(f"{file.name}:{node.lineno} {name}")
            if isinstance(node, ast.Subscript | ast.Call) and re.match(
                r"os\.(environ\[|environ\.(setdefault|update|pop)\(|putenv\().*MLFLOW_(TRACKING|REGISTRY)_URI",
                ast.unparse(node),
            ):
                wrong.append(f"{file.name}:{node.lineno} {ast.unparse(node)}")
    assert wrong == []
