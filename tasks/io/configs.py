"""Find and read the YAML files of models; what they mean is decided in ``tasks.core.config``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from tasks.core.config import ModelConfig, parse_model
from tasks.core.errors import ConfigError, unknown_name

_RESERVED = {"base"}
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_PROJECT_CONFIG = Path(__file__).resolve().parents[2] / "config"


def list_models(config_dir: Path) -> list[str]:
    """Return the names of the models configured in a folder, sorted."""
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
        registered = _files_of(model, config_dir)
        if len(registered) > 1:
            names = " and ".join(file.name for file in registered)
            raise ConfigError(f"'{model}' is the model of {names}. Name one of the files instead.")
        if registered:
            return registered[0]
        raise unknown_name("model", model, list_models(config_dir), where=f"the folder {config_dir.name}/")
    return path


def read_config(path: Path) -> ModelConfig:
    """Read a model's file over ``base.yaml`` of its folder (else the project's own)."""
    values = _read_yaml(path)
    values.setdefault("model", path.stem)
    base = path.parent / "base.yaml"
    defaults = _read_yaml(base if base.is_file() else _PROJECT_CONFIG / "base.yaml")
    return parse_model(values, defaults=defaults, origin=_shown(path))


def _files_of(model: str, config_dir: Path) -> list[Path]:
    """Return the files whose key ``model`` names a registered model."""
    files = [config_dir / f"{name}.yaml" for name in list_models(config_dir)]
    mentioned = [file for file in files if model in file.read_text(encoding="utf-8", errors="replace")]
    return [file for file in mentioned if _read_yaml(file).get("model") == model]


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        values = _parse(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        first = " ".join(str(error).split())
        raise ConfigError(f"{_shown(path)} is not readable as YAML: {first}. Correct the file.") from None
    except FileNotFoundError:
        return {}
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ConfigError(
            f"{_shown(path)} holds a {type(values).__name__}, expected keys and values; see config/README.md."
        )
    return values


def _parse(text: str) -> Any:
    """Do what ``yaml.safe_load`` does, in C where PyYAML has it: ten times as fast."""
    loader = _LOADER(text)
    try:
        return loader.get_single_data()
    finally:
        loader.dispose()


def _shown(path: Path) -> str:
    """Return the path as a person would type it."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)
