"""The way to MLflow: credentials and patience set once, and its faults in our words."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from aforo.errors import AforoError, ModelNotFound, SettingsError, StoreUnavailable
from aforo.settings import Settings

if TYPE_CHECKING:
    from mlflow import MlflowClient

# MLflow's own patience is minutes; the scheduler knows better when to try again.
_DEFAULTS = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "60",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_UV_AUTO_DETECT": "false",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "GIT_PYTHON_REFRESH": "quiet",
}


def connect(settings: Settings) -> MlflowClient:
    """Return a client of the tracking server in ``settings``, which becomes MLflow's own choice in this process too.

    MLflow reads its credentials from the environment and from nowhere else, so they are put there.
    """
    for name, value in _DEFAULTS.items():
        os.environ.setdefault(name, value)
    if settings.mlflow_username is not None and settings.mlflow_password is not None:
        os.environ["MLFLOW_TRACKING_USERNAME"] = settings.mlflow_username
        os.environ["MLFLOW_TRACKING_PASSWORD"] = settings.mlflow_password
    uri = settings.mlflow_tracking_uri
    if uri.startswith("sqlite:"):
        settings.home.mkdir(parents=True, exist_ok=True)
    import mlflow

    mlflow.set_tracking_uri(uri)
    mlflow.set_registry_uri(uri)
    return mlflow.MlflowClient(uri, uri)


@contextmanager
def translated(settings: Settings) -> Iterator[None]:
    """Turn MLflow's faults into ours.

    Raises
    ------
    StoreUnavailable
        The server does not answer, or says that it cannot now.
    SettingsError
        It refuses the credentials or the host name.
    AforoError
        It says anything else.
    """
    from mlflow.exceptions import MlflowException

    uri = settings.mlflow_tracking_uri
    place = f"MLflow at {_without_password(uri)}"
    try:
        yield
    except MlflowException as error:
        status = int(error.get_http_status_code())  # type: ignore[no-untyped-call]
        said = str(error.message).splitlines()[0].replace(uri, _without_password(uri))[:300]
        if status in (401, 403):
            raise SettingsError(
                f"{place} refuses us: {said}",
                hint="check MLFLOW_TRACKING_USERNAME, MLFLOW_TRACKING_PASSWORD_FILE and the server's --allowed-hosts",
            ) from error
        if _is_outage(status, said):
            raise StoreUnavailable(f"{place} does not answer: {said}", hint="start it, or try again later") from error
        raise AforoError(f"{place} refuses the request: {said}") from error


def not_found(error: Exception) -> bool:
    """Whether MLflow says that there is no such thing."""
    return getattr(error, "error_code", None) == "RESOURCE_DOES_NOT_EXIST"


def unknown(use_case: str, asked: str, valid: str) -> ModelNotFound:
    """Return the error for a version or alias that is not there."""
    return ModelNotFound(f"{use_case} has no version or alias {asked!r}; there are: {valid or 'none'}")


def page_of(settings: Settings, *path: str) -> str | None:
    """Return the address of a page of MLflow's user interface, ``None`` if no server is known."""
    base = settings.mlflow_public_url
    if base is None and settings.mlflow_tracking_uri.startswith(("http://", "https://")):
        base = settings.mlflow_tracking_uri
    return None if base is None else "/".join([f"{_without_password(base).rstrip('/')}/#", *path])


def _is_outage(status: int, said: str) -> bool:
    if status in (408, 429, 502, 503, 504):
        return True
    # A connection that fails has no status of its own: MLflow says 500, and tells it in words.
    return said.startswith("API request to ") and "failed with" in said


def _without_password(uri: str) -> str:
    scheme, separator, rest = uri.partition("://")
    return f"{scheme}{separator}{rest.rpartition('@')[2]}"
