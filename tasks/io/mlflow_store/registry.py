"""The model registry of MLflow: versions, tags and aliases."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any

from evergreen.tasks.core.errors import InputError
from evergreen.tasks.core.promotion.plan import ROLES
from evergreen.tasks.io.databases import is_unanswered, mlflow_unreachable
from evergreen.tasks.io.mlflow_store.reader import (
    ABSENT,
    PAGE,
    RestReader,
    SqlReader,
    VersionInfo,
    filter_of,
    open_reader,
    unknown_version,
    version_info,
)

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion
    from mlflow.exceptions import MlflowException


_SERVERS = ("http:", "https:")


class Registry:
    """Versions, tags and aliases, by MLflow's own client, which is imported and created at first use.

    One contract suite runs on this, on `MlflowRegistry` and on the one of the tests. Aliases are written by
    ``tasks/promotion.py`` alone.
    """

    def __init__(self, tracking_uri: str) -> None:
        self.tracking_uri = tracking_uri

    @cached_property
    def _client(self) -> MlflowClient:
        from mlflow import MlflowClient

        return MlflowClient(tracking_uri=self.tracking_uri, registry_uri=self.tracking_uri)

    def aliases(self, name: str) -> dict[str, int]:
        """Return version numbers by alias; empty for a model that does not exist."""
        from mlflow.exceptions import MlflowException

        try:
            aliases = self._client.get_registered_model(name).aliases
        except MlflowException as error:
            if error.error_code == ABSENT:
                return {}
            raise self._translated(error, name) from error
        return {str(alias): int(version) for alias, version in aliases.items()}

    def version(self, name: str, version: int) -> VersionInfo:
        """Return one version; ``UnknownName`` when there is none."""
        with self._errors(name, version=version):
            return _info(self._client.get_model_version(name, str(version)))

    def versions(self, name: str) -> list[VersionInfo]:
        """Return all versions in ascending order; empty for a model that does not exist."""
        versions: list[VersionInfo] = []
        page: Any = None
        while page is None or page.token:
            page = self._client.search_model_versions(
                filter_of(name), max_results=PAGE, page_token=page.token if page else None
            )
            versions.extend(map(_info, page))
        return sorted(versions, key=lambda info: info.version)

    def ensure_model(
        self, name: str, *, description: str = "", tags: Mapping[str, str] | None = None
    ) -> None:
        """Create the registered model unless it exists; an existing one is left as it is."""
        from mlflow.exceptions import MlflowException

        try:
            self._client.create_registered_model(name, tags=dict(tags or {}), description=description or None)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise self._translated(error, name) from error

    def set_alias(self, name: str, alias: str, version: int) -> None:
        """Point an alias at a version. ``UnknownName`` without that version, ``InputError`` for a bad alias."""
        with self._errors(name, version=version, alias=alias):
            self._client.set_registered_model_alias(name, alias, str(version))

    def delete_alias(self, name: str, alias: str) -> None:
        """Remove an alias; an absent one is fine."""
        if alias in self.aliases(name):
            with self._errors(name):
                self._client.delete_registered_model_alias(name, alias)

    def set_tags(self, name: str, version: int, tags: Mapping[str, str]) -> None:
        """Set tags of a version; others stay. ``UnknownName`` without that version."""
        with self._errors(name, version=version):
            for key, value in tags.items():
                self._client.set_model_version_tag(name, str(version), key, value)

    def register(
        self,
        name: str,
        *,
        source: str,
        run_id: str | None,
        tags: Mapping[str, str] | None = None,
        description: str = "",
    ) -> VersionInfo:
        """Register files as the next version; the model is created when needed."""
        self.ensure_model(name)
        model_id = _logged_model_id(source)
        with self._errors(name):
            if model_id is not None and not self.tracking_uri.startswith(_SERVERS):
                # a database's store would look for the logged model in whatever store the process calls its own
                logged = self._client.get_logged_model(model_id)
                source, run_id = logged.artifact_location, run_id or logged.source_run_id
            created = self._client.create_model_version(
                name,
                source,
                run_id=run_id,
                tags=dict(tags or {}),
                description=description or None,
                model_id=model_id,
            )
        return _info(created)

    @contextmanager
    def _errors(self, name: str, *, version: int | None = None, alias: str | None = None) -> Iterator[None]:
        """Raise our error for one of MLflow's."""
        from mlflow.exceptions import MlflowException

        try:
            yield
        except MlflowException as error:
            raise self._translated(error, name, version=version, alias=alias) from error

    def _translated(
        self, error: MlflowException, name: str, *, version: int | None = None, alias: str | None = None
    ) -> Exception:
        """Return our error for one of MLflow's; its own where ours would say no more."""
        if error.error_code == ABSENT and version is not None:
            return unknown_version(name, version, [info.version for info in self.versions(name)])
        if error.error_code == "INVALID_PARAMETER_VALUE" and alias is not None:
            return InputError(f"Alias '{alias}' of model '{name}' is refused by MLflow: {error.message}")
        return mlflow_unreachable(self.tracking_uri, error.message) if is_unanswered(error) else error


# The same without MLflow's client: two CPU seconds to import, which a promotion would pay for two aliases.


class RestWriter(RestReader):
    """Reads a tracking server, moves its aliases and sets its versions' tags."""

    def set_alias(self, name: str, alias: str, version: int) -> None:
        """Point an alias at a version; ``UnknownName`` without that version."""
        if self._ask("POST", _ALIAS, name=name, alias=alias, version=str(version)) is None:
            raise unknown_version(name, version, [info.version for info in self.versions(name)])

    def delete_alias(self, name: str, alias: str) -> None:
        """Remove an alias; an absent one is fine."""
        self._ask("DELETE", _ALIAS, name=name, alias=alias)

    def set_tags(self, name: str, version: int, tags: Mapping[str, str]) -> None:
        """Set tags of a version; others stay. ``UnknownName`` without that version."""
        for key, value in tags.items():
            tag = {"name": name, "version": str(version), "key": key, "value": value}
            if self._ask("POST", "model-versions/set-tag", **tag) is None:
                raise unknown_version(name, version, [info.version for info in self.versions(name)])


class SqlWriter(SqlReader):
    """Reads a tracking database, moves its aliases and sets its versions' tags, in one transaction each time."""

    def set_alias(self, name: str, alias: str, version: int) -> None:
        """Point an alias at a version; ``UnknownName`` without that version."""
        row = {"name": name, "version": version, "alias": alias}
        if not self._write((_INSERT_ALIAS, _UPDATE_ALIAS), [row]):
            raise unknown_version(name, version, [info.version for info in self.versions(name)])

    def delete_alias(self, name: str, alias: str) -> None:
        """Remove an alias; an absent one is fine."""
        self._write((_DELETE_ALIAS,), [{"name": name, "alias": alias}])

    def set_tags(self, name: str, version: int, tags: Mapping[str, str]) -> None:
        """Set tags of a version; others stay. ``UnknownName`` without that version."""
        rows = [{"name": name, "version": version, "key": key, "value": tags[key]} for key in tags]
        if rows and not self._write((_INSERT_TAG, _UPDATE_TAG), rows):
            raise unknown_version(name, version, [info.version for info in self.versions(name)])


_ALIAS = "registered-models/alias"
_REGISTERED = (
    "FROM model_versions WHERE name = :name AND version = :version AND current_stage <> :deleted {here}"
)
_INSERT_ALIAS = (
    "INSERT INTO registered_model_aliases (name, alias, version) SELECT name, :alias, version "
    f"{_REGISTERED} ON CONFLICT DO NOTHING"
)
_UPDATE_ALIAS = (
    "UPDATE registered_model_aliases SET version = :version WHERE name = :name AND alias = :alias {here} "
    f"AND EXISTS (SELECT 1 {_REGISTERED})"
)
_DELETE_ALIAS = "DELETE FROM registered_model_aliases WHERE name = :name AND alias = :alias {here}"
_INSERT_TAG = (
    "INSERT INTO model_version_tags (name, version, key, value) SELECT name, version, :key, :value "
    f"{_REGISTERED} ON CONFLICT DO NOTHING"
)
_UPDATE_TAG = (
    "UPDATE model_version_tags SET value = :value WHERE name = :name AND version = :version AND key = :key {here} "
    f"AND EXISTS (SELECT 1 {_REGISTERED})"
)
_PLAIN_TAG = re.compile(r"[a-z_]{1,60}(\.[a-z_]{1,60}){0,2}")
"""Keys of tags, such as ``evergreen.archived``, that MLflow takes without a second look."""


class MlflowRegistry(Registry):
    """MLflow's registry behind a tracking URI; its client is needed to register versions, and for rare stores."""

    @cached_property
    def _store(self) -> RestWriter | SqlWriter | Registry:
        reader = open_reader(self.tracking_uri)
        if isinstance(reader, RestReader):
            return RestWriter(self.tracking_uri, os.environ)
        return Registry(self.tracking_uri) if reader is None else SqlWriter(self.tracking_uri)

    def aliases(self, name: str) -> dict[str, int]:
        """Return version numbers by alias; empty for a model that does not exist."""
        return self._store.aliases(name)

    def version(self, name: str, version: int) -> VersionInfo:
        """Return one version; ``UnknownName`` when there is none."""
        return self._store.version(name, version)

    def versions(self, name: str) -> list[VersionInfo]:
        """Return all versions in ascending order; empty for a model that does not exist."""
        return self._store.versions(name)

    def set_alias(self, name: str, alias: str, version: int) -> None:
        """Point an alias at a version; whether a team's own alias will do is left to MLflow's client."""
        if alias in ROLES:
            self._store.set_alias(name, alias, version)
        else:
            super().set_alias(name, alias, version)

    def delete_alias(self, name: str, alias: str) -> None:
        """Remove an alias; an absent one is fine."""
        self._store.delete_alias(name, alias)

    def set_tags(self, name: str, version: int, tags: Mapping[str, str]) -> None:
        """Set tags of a version; others stay. ``UnknownName`` without that version."""
        if all(map(_PLAIN_TAG.fullmatch, tags)):
            self._store.set_tags(name, version, tags)
        else:
            super().set_tags(name, version, tags)


def _logged_model_id(source: str) -> str | None:
    """Return ``m-…`` of ``models:/m-…``, so that MLflow links the version with its logged model."""
    rest = source.removeprefix("models:/")
    return rest if rest != source and rest.startswith("m-") and "/" not in rest else None


def _info(version: ModelVersion) -> VersionInfo:
    return version_info(dict(version), tags=version.tags or {}, created=version.creation_timestamp)
