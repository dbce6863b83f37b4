"""The model registry: versions, tags and aliases, as MLflow keeps them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

from evergreen.tasks.core.errors import InputError
from evergreen.tasks.io.mlflow_store.reader import (
    PAGE,
    RegistryReader,
    VersionInfo,
    moment,
    open_reader,
    unknown_version,
)
from evergreen.tasks.io.store_checks import mlflow_unreachable

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion
    from mlflow.exceptions import MlflowException


_SERVERS = ("http:", "https:")
_ABSENT = "RESOURCE_DOES_NOT_EXIST"


class Registry(RegistryReader, Protocol):
    """What every registry does; one contract suite runs on each of them.

    Aliases are written by ``tasks/promotion.py`` alone.
    """

    def ensure_model(
        self, name: str, *, description: str = "", tags: Mapping[str, str] | None = None
    ) -> None:
        """Create the registered model unless it exists; an existing one is left as it is."""

    def set_alias(self, name: str, alias: str, version: int) -> None:
        """Point an alias at a version. ``UnknownName`` without that version, ``InputError`` for a bad alias."""

    def delete_alias(self, name: str, alias: str) -> None:
        """Remove an alias; an absent one is fine."""

    def set_tags(self, name: str, version: int, tags: Mapping[str, str]) -> None:
        """Set tags of a version; others stay. ``UnknownName`` without that version."""

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


class MlflowRegistry:
    """MLflow's model registry behind a tracking URI; its client is imported and created when something is written."""

    def __init__(self, tracking_uri: str) -> None:
        self.tracking_uri = tracking_uri

    @cached_property
    def _reader(self) -> RegistryReader:
        return open_reader(self.tracking_uri) or ClientReader(self.tracking_uri)

    @cached_property
    def _client(self) -> MlflowClient:
        from mlflow import MlflowClient

        return MlflowClient(tracking_uri=self.tracking_uri, registry_uri=self.tracking_uri)

    def ensure_model(
        self, name: str, *, description: str = "", tags: Mapping[str, str] | None = None
    ) -> None:
        """Create the registered model unless it exists; an existing one is left as it is."""
        from mlflow.exceptions import MlflowException

        try:
            self._client.create_registered_model(name, tags=dict(tags or {}), description=description or None)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise self._translate(error, name) from error

    def aliases(self, name: str) -> dict[str, int]:
        """Return version numbers by alias; empty for a model that does not exist."""
        return self._reader.aliases(name)

    def set_alias(self, name: str, alias: str, version: int) -> None:
        """Point an alias at a version. ``UnknownName`` without that version, ``InputError`` for a bad alias."""
        from mlflow.exceptions import MlflowException

        try:
            self._client.set_registered_model_alias(name, alias, str(version))
        except MlflowException as error:
            raise self._translate(error, name, version=version, alias=alias) from error

    def delete_alias(self, name: str, alias: str) -> None:
        """Remove an alias; an absent one is fine."""
        from mlflow.exceptions import MlflowException

        if alias not in self.aliases(name):
            return
        try:
            self._client.delete_registered_model_alias(name, alias)
        except MlflowException as error:
            raise self._translate(error, name) from error

    def version(self, name: str, version: int) -> VersionInfo:
        """Return one version; ``UnknownName`` when there is none."""
        return self._reader.version(name, version)

    def versions(self, name: str) -> list[VersionInfo]:
        """Return all versions in ascending order; empty for a model that does not exist."""
        return self._reader.versions(name)

    def set_tags(self, name: str, version: int, tags: Mapping[str, str]) -> None:
        """Set tags of a version; others stay. ``UnknownName`` without that version."""
        from mlflow.exceptions import MlflowException

        try:
            for key, value in tags.items():
                self._client.set_model_version_tag(name, str(version), key, value)
        except MlflowException as error:
            raise self._translate(error, name, version=version) from error

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
        from mlflow.exceptions import MlflowException

        self.ensure_model(name)
        model_id = _logged_model_id(source)
        try:
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
        except MlflowException as error:
            raise self._translate(error, name) from error
        return _info(created)

    def _translate(
        self, error: MlflowException, name: str, *, version: int | None = None, alias: str | None = None
    ) -> Exception:
        """Return our error for one of MLflow's; its own where we have nothing better to say."""
        if error.error_code == _ABSENT and version is not None:
            return unknown_version(name, version, [info.version for info in self.versions(name)])
        if error.error_code == "INVALID_PARAMETER_VALUE" and alias is not None:
            return InputError(f"Alias '{alias}' of model '{name}' is refused by MLflow: {error.message}")
        return _translated(error, self.tracking_uri)


def _translated(error: MlflowException, tracking_uri: str) -> Exception:
    """Return ``Unreachable`` for a store that does not answer, any other error as it is."""
    if error.error_code == "TEMPORARILY_UNAVAILABLE" or "API request to" in str(error.message):
        return mlflow_unreachable(tracking_uri, error.message)
    return error


class ClientReader:
    """Reads a registry by MLflow's own client, which is imported for it."""

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
            found = self._client.get_registered_model(name).aliases
        except MlflowException as error:
            if error.error_code == _ABSENT:
                return {}
            raise _translated(error, self.tracking_uri) from error
        return {str(alias): int(version) for alias, version in found.items()}

    def version(self, name: str, version: int) -> VersionInfo:
        """Return one version; ``UnknownName`` when there is none."""
        from mlflow.exceptions import MlflowException

        try:
            return _info(self._client.get_model_version(name, str(version)))
        except MlflowException as error:
            if error.error_code == _ABSENT:
                raise unknown_version(
                    name, version, [info.version for info in self.versions(name)]
                ) from error
            raise _translated(error, self.tracking_uri) from error

    def versions(self, name: str) -> list[VersionInfo]:
        """Return all versions in ascending order; empty for a model that does not exist."""
        found: list[VersionInfo] = []
        token: str | None = None
        quote = '"' if "'" in name else "'"  # MLflow's filters know no escape, but both quotes
        while True:
            page = self._client.search_model_versions(
                f"name = {quote}{name}{quote}", max_results=PAGE, page_token=token
            )
            found.extend(_info(version) for version in page)
            token = page.token
            if not token:
                return sorted(found, key=lambda info: info.version)


def _logged_model_id(source: str) -> str | None:
    """Return ``m-…`` of ``models:/m-…``, so that MLflow links the version with its logged model."""
    rest = source.removeprefix("models:/")
    return rest if rest != source and rest.startswith("m-") and "/" not in rest else None


def _info(version: ModelVersion | Any) -> VersionInfo:
    return VersionInfo(
        model=str(version.name),
        version=int(version.version),
        run_id=version.run_id or None,
        source=str(version.source),
        tags=dict(version.tags or {}),
        created_at=moment(version.creation_timestamp),
    )
