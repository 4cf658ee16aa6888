"""How the service runs: limits with their defaults, in one place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from aforo.errors import SettingsError
from aforo.monitoring.spool import SpoolOptions
from aforo.settings import Settings, secret


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What one worker takes on.

    Attributes
    ----------
    max_body_bytes
        Largest request body, also after decompression.
    max_rows
        Largest number of rows in a request.
    max_waiting_rows
        Rows that may wait for the model; more are refused with ``Retry-After``.
    max_explained_rows
        Largest number of rows in a request for explanations.
    max_waiting_explanations
        Rows that may wait to be explained; more are refused with ``Retry-After``.
    explanation_s
        After so long, a request's explanations are made of as few permutations as they can be.
    deadline_s
        An answer that would come later is refused instead.
    header_timeout_s, body_timeout_s
        How long a client may take to send a request's headers, and all of it.
    keep_alive_s
        How long a connection may be idle.
    max_header_bytes
        Of the request line and all headers together.
    max_connections
        Open connections of one worker.
    busy_poll_s
        How long a worker looks for the next request before it sleeps, where the one before came as soon; 0 for never.
    """

    max_body_bytes: int = 8 * 2**20
    max_rows: int = 10_000
    max_waiting_rows: int = 100_000
    max_explained_rows: int = 100
    max_waiting_explanations: int = 1_000
    explanation_s: float = 0.5
    deadline_s: float = 10.0
    header_timeout_s: float = 10.0
    body_timeout_s: float = 30.0
    keep_alive_s: float = 75.0
    max_header_bytes: int = 32 * 2**10
    max_connections: int = 20_000
    busy_poll_s: float = 200e-6


@dataclass(frozen=True, kw_only=True)
class ServeOptions:
    """All that ``aforo serve`` decides.

    Attributes
    ----------
    host, port
        Where to listen. Port 0 takes a free one.
    workers
        Processes that share the port and the models' memory.
    models
        Names of the models to serve; ``None`` for every registered one.
    warm
        ``"model@version"`` texts: versions that stay in memory although no alias points at them.
    mirror
        Folder of the local copy of the registry.
    follow_registry
        Whether to start the process that keeps the local copy up to date.
    poll_s
        How often the registry is asked for changes.
    look_s
        How often a worker looks for changes in the local copy.
    signing_key_file
        File with the HMAC key of the bundles.
    api_keys_file
        JSON file of hashed API keys; required unless the host is this machine alone.
    memory_budget_bytes
        What the versions of one worker may use before unused ones are let go.
    log
        How predictions are recorded; ``None`` for not at all.
    events_url
        Database of the events that windows are computed from; ``None`` for a SQLite file beside the local copy.
    events_refresh_s
        How often a worker reads what other workers have taken.
    events_stale_s
        Windows are missing once the database has not answered for this long.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    workers: int = 1
    models: tuple[str, ...] | None = None
    warm: tuple[str, ...] = ()
    mirror: Path
    follow_registry: bool = True
    poll_s: float = 2.0
    look_s: float = 0.25
    signing_key_file: Path
    api_keys_file: Path | None = None
    memory_budget_bytes: int = 2**30
    log: SpoolOptions | None = None
    events_url: str | None = None
    events_refresh_s: float = 1.0
    events_stale_s: float = 30.0
    limits: Limits = field(default_factory=Limits)

    @property
    def trials_folder(self) -> Path:
        """Where the challengers' trials are kept: beside the local copy, so that they outlive a restart."""
        return self.mirror.parent / "trials"

    @property
    def events_database(self) -> str:
        """Where events are kept."""
        return self.events_url or f"sqlite:///{self.mirror.parent / 'events.db'}"

    @classmethod
    def from_environment(cls, environ: Mapping[str, str], settings: Settings) -> ServeOptions:
        """Read ``AFORO_SERVE_HOST``, ``_PORT``, ``_WORKERS``, ``_MODELS``, ``_WARM`` (lists with commas),
        ``_BUSY_POLL_US``, ``AFORO_SERVE_LOG`` with its own (:class:`~aforo.monitoring.spool.SpoolOptions`),
        ``AFORO_API_KEYS_FILE`` and ``AFORO_EVENTS_URL``.

        Raises
        ------
        SettingsError
            A value cannot be used.
        """
        keys = environ.get("AFORO_API_KEYS_FILE")
        return cls(
            host=environ.get("AFORO_SERVE_HOST") or "127.0.0.1",
            port=_number(environ, "AFORO_SERVE_PORT", 8000),
            workers=_number(environ, "AFORO_SERVE_WORKERS", 1),
            models=_list(environ, "AFORO_SERVE_MODELS") or None,
            warm=_list(environ, "AFORO_SERVE_WARM"),
            mirror=settings.home / "mirror",
            signing_key_file=settings.signing_key_file,
            api_keys_file=Path(keys) if keys else None,
            log=SpoolOptions.from_environment(environ, settings.home),
            events_url=secret(environ, "AFORO_EVENTS_URL") or None,
            limits=Limits(busy_poll_s=_number(environ, "AFORO_SERVE_BUSY_POLL_US", 200) / 1e6),
        )

    def __post_init__(self) -> None:
        if self.workers < 1:
            raise SettingsError(f"{self.workers} workers; expected 1 or more")
        if self.api_keys_file is None and self.host not in ("127.0.0.1", "::1", "localhost"):
            raise SettingsError(
                f"the service would listen on {self.host} without API keys; they are off on this machine only",
                hint="set AFORO_API_KEYS_FILE to a file made by `aforo api-key`, or listen on 127.0.0.1",
            )
        for text in self.warm:
            if not text.rpartition("@")[0]:
                raise SettingsError(f"warm version {text!r}; expected model@version, for example flight_delay@3")


def _number(environ: Mapping[str, str], name: str, default: int) -> int:
    text = environ.get(name) or str(default)
    if not text.isdecimal():
        raise SettingsError(f"{name} is {text!r}; expected a whole number")
    return int(text)


def _list(environ: Mapping[str, str], name: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in environ.get(name, "").split(",") if part.strip())
