"""Find, read and migrate the YAML files of models; what they mean is decided in ``evergreen.tasks.core.config``."""

from __future__ import annotations

import stat
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from evergreen.tasks.core.config import ModelConfig, parse_model
from evergreen.tasks.core.config.renamed import ConfigEdit, in_todays_keys, migrate_text
from evergreen.tasks.core.errors import ConfigError, InputError, RenamedWord, UnknownName, unknown_name
from evergreen.tasks.core.metrics.base import Metric, custom_metric
from evergreen.tasks.core.registry import import_path
from evergreen.tasks.io.files import write_file
from evergreen.tasks.io.plugins import offer_plugins
from evergreen.tasks.io.settings import Settings

_RESERVED = {"base"}
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_BASE = Path(str(files("evergreen").joinpath("base.yaml")))
"""The defaults of every key, generated from the typed models."""


def list_models(config_dir: Path) -> list[str]:
    """Return the names of the models configured in a folder, sorted; a file in its place is refused."""
    if config_dir.is_file():
        raise ConfigError(
            f"EVERGREEN_CONFIG is '{shown_path(config_dir)}', a file. Give the folder that holds the models' files."
        )
    return sorted(path.stem for path in config_dir.glob("*.yaml") if path.stem not in _RESERVED)


def find_model(model: str, *, config_dir: Path) -> Path:
    """Return the file of a model given by name (``fraud``) or by path (``team/fraud.yaml``).

    A name is the file's, else the registered model's (``prod.fraud``), which events and services go by.

    Raises
    ------
    ConfigError
        When a path names no file.
    UnknownName
        When the folder holds no model of that name.
    """
    if model.endswith((".yaml", ".yml")):
        path = Path(model)
        if not path.is_file():
            raise ConfigError(
                f"No file '{model}': give the path of a YAML file, or write one with 'evergreen init'."
            )
        return path.absolute()
    path = config_dir / f"{model}.yaml"
    if model in _RESERVED or not path.is_file():
        files = [config_dir / f"{name}.yaml" for name in list_models(config_dir)]
        mentioned = [file for file in files if model in file.read_text(encoding="utf-8", errors="replace")]
        registered = [file for file in mentioned if _read_yaml(file).get("model") == model]
        if len(registered) > 1:
            names = " and ".join(file.name for file in registered)
            raise ConfigError(f"'{model}' is the model of {names}. Name one of the files instead.")
        if registered:
            return registered[0]
        raise unknown_name(
            "model", model, list_models(config_dir), where=f"the folder {shown_path(config_dir)}/"
        )
    return path


def read_config(path: Path) -> ModelConfig:
    """Read a model's file over ``base.yaml`` of its folder (else the project's own)."""
    offer_plugins()
    values = _read_yaml(path)
    values.setdefault("model", path.stem)
    base = path.parent / "base.yaml"
    base = base if base.is_file() else _BASE
    defaults = in_todays_keys(_read_yaml(base), origin=shown_path(base))
    return parse_model(values, defaults=defaults, origin=shown_path(path))


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        values = _parse(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise _not_yaml(shown_path(path), error) from None
    except FileNotFoundError:
        return {}
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ConfigError(
            f"{shown_path(path)} holds a {type(values).__name__}, expected keys and values; see config/README.md."
        )
    return values


def _not_yaml(file: str, error: Exception) -> ConfigError:
    first = " ".join(str(error).split()).replace(' in "<unicode string>", line', " at line")
    return ConfigError(f"{file} is not readable as YAML: {first}. Correct the file.")


def _parse(text: str) -> Any:
    """Do what ``yaml.safe_load`` does, in C where PyYAML has it: ten times as fast."""
    loader = _LOADER(text)
    try:
        return loader.get_single_data()
    finally:
        loader.dispose()


def shown_path(path: Path) -> str:
    """Return the path as a user would type it."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def custom_metrics(config: ModelConfig) -> dict[str, Metric]:
    """Return the team's own metrics (``evaluation.custom_metrics``) by name.

    Raises
    ------
    ConfigError
        When one cannot be imported.
    """
    return {
        name: custom_metric(
            name,
            import_path(own.path, key=f"evaluation.custom_metrics.{name}"),
            greater_is_better=own.greater_is_better,
            bounded=own.bounded,
        )
        for name, own in config.evaluation.custom_metrics.items()
    }


def check_names(config: ModelConfig, *, origin: str) -> None:
    """Check that the metrics and the estimators a configuration names are there, before anything is trained.

    Imported here, not above: what knows them costs more than reading a file.

    Parameters
    ----------
    config : ModelConfig
        The model.
    origin : str
        Its file, for messages.

    Raises
    ------
    ConfigError, UnknownName
        Naming the key, the file and what is allowed.
    """
    from evergreen.tasks.core.metrics.registry import deciding_metric, metrics_of
    from evergreen.tasks.core.training.estimators import load_estimator_class

    custom = custom_metrics(config)
    with _said_of("evaluation.metric", origin):
        deciding_metric(config, custom=custom)
    with _said_of("evaluation.metrics", origin):
        metrics_of(config, custom=custom)
    for candidate in config.training.candidates:
        with _said_of(f"training.candidates, '{candidate.name}'", origin):
            load_estimator_class(candidate.estimator, allow=config.training.allow)


@contextmanager
def _said_of(key: str, origin: str) -> Iterator[None]:
    try:
        yield
    except (ConfigError, UnknownName) as error:
        raise type(error)(f"{origin}, {key}: {error}") from error


# Where the modules lie that a team wrote itself: metrics, gates, generators and estimators by dotted path.


def reach_team_modules(settings: Settings) -> None:
    """Let dotted paths reach the working folder, and the folder that holds the configurations.

    A console script and a worker's process do not look there by themselves. Both come last, so that no file of a
    team stands in front of a library.
    """
    for folder in (Path.cwd(), settings.config_dir.parent):
        if str(folder) not in sys.path:
            sys.path.append(str(folder))


# Rewrite files that hold keys or values of an earlier version.


def migrate_configs(settings: Settings, model: str | None, *, dry_run: bool = False) -> dict[str, Any]:
    """Rewrite the renamed keys and values of a model's file, or of each file of the folder.

    Parameters
    ----------
    model : str or None
        Name or path of one model's file; None: every file of the folder, ``base.yaml`` too.
    dry_run : bool
        Say what would be changed, and write nothing.

    Returns
    -------
    dict
        ``state`` (Migrated; Unchanged where no old word was found or it was a dry run), ``reasons``, ``dry_run`` and
        ``files``: ``file`` and ``changes`` (``line``, ``old``, ``new``) of each file that holds old words.

    Raises
    ------
    ConfigError
        When a file is not YAML, or has a key under its old and its new name; no file was written then.
    """
    folder = settings.config_dir
    paths = sorted(folder.glob("*.yaml")) if model is None else [find_model(model, config_dir=folder)]
    if not paths:
        raise InputError(f"There is no YAML file in {folder}. Write one by 'evergreen init'.")
    changed = {path: (text, edits) for path in paths for text, edits in [_migrated(path)] if edits}
    if not dry_run:
        for path, (text, _) in changed.items():
            write_file(path.resolve(), text, mode=stat.S_IMODE(path.stat().st_mode))
    return {
        "state": "Migrated" if changed and not dry_run else "Unchanged",
        "reasons": [],
        "dry_run": dry_run,
        "files": [
            {
                "file": str(path),
                "changes": [{"line": edit.line, "old": edit.old, "new": edit.new} for edit in edits],
            }
            for path, (_, edits) in changed.items()
        ],
    }


def _migrated(path: Path) -> tuple[str, tuple[ConfigEdit, ...]]:
    """Return a file's text with the keys and values of today, read back to check that nothing else was changed."""
    before = path.read_bytes().decode("utf-8")
    try:
        after, edits = migrate_text(before)
        values, rewritten = yaml.safe_load(before), yaml.safe_load(after)
    except yaml.YAMLError as error:
        raise _not_yaml(str(path), error) from None
    if not isinstance(values, dict):
        return after, edits
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RenamedWord)
        expected = in_todays_keys(values, origin=str(path))
    if rewritten != expected:
        changes = ", ".join(f"{edit.old} (line {edit.line}) is now {edit.new}" for edit in edits)
        raise ConfigError(
            f"{path} cannot be rewritten by this command, as an anchor or a merge (&, *, <<) in it is used where it "
            f"must stay as it is. Change it by hand: {changes}."
        )
    return after, edits
