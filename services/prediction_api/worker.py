"""One worker process: an event loop that answers on its own listening socket."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import socket
import sys
from pathlib import Path

import uvicorn

from aforo.errors import SettingsError
from prediction_api import predicting
from prediction_api.api_keys import ApiKeys
from prediction_api.app import Application
from prediction_api.batching import RowBudget
from prediction_api.challenging import Challenging
from prediction_api.events import Events
from prediction_api.fast_lane import fast_lane
from prediction_api.http_protocol import sweep_connections
from prediction_api.metrics import Metrics
from prediction_api.options import ServeOptions
from prediction_api.outbox import Outbox
from prediction_api.pane_store import PaneStore
from prediction_api.served_models import CHAMPION, ServedModels
from prediction_api.traffic import Traffic
from prediction_api.trials import TrialFiles
from prediction_api.windows import WindowPanes
from prediction_api.worker_state import WorkerStates

logger = logging.getLogger(__name__)

_PUBLISH_S = 1.0
# Requests wait this long at most for the thread that loads a version; Python's own 5 ms would be felt.
_SWITCH_S = 0.0005
# New objects until cycles are looked for. Rows in flight are tuples by the thousand and in no cycle; to walk through
# them every 700 objects, as Python does, costs more than encoding their answers.
_COLLECT_AFTER = 50_000
_GRACE_S = 10


class Worker:
    """What one worker needs, made before the process is forked so that its memory is shared.

    Parameters
    ----------
    budget, metrics, outbox, windows
        Those that ``models`` was made with.
    """

    def __init__(
        self,
        options: ServeOptions,
        models: ServedModels,
        keys: ApiKeys,
        budget: RowBudget,
        metrics: Metrics,
        run_folder: Path,
        outbox: Outbox,
        windows: WindowPanes,
    ) -> None:
        self.options = options
        self.models = models
        self.keys = keys
        self.budget = budget
        self.metrics = metrics
        self.recorder = outbox.recorder
        self.states = WorkerStates(run_folder)
        self.traffic = Traffic(run_folder, self.states)
        self.challenging = Challenging(TrialFiles(options.trials_folder), models, metrics, self.recorder)
        self.events = Events(
            models, windows, PaneStore(options.events_database), metrics, refresh_s=options.events_refresh_s
        )
        self.application = Application(
            models,
            keys=keys,
            limits=options.limits,
            metrics=metrics,
            states=self.states,
            outbox=outbox,
            challenging=self.challenging,
            traffic=self.traffic,
            events=self.events,
        )

    def run(self, number: int, listener: socket.socket) -> None:
        """Answer until told to stop by SIGTERM or SIGINT; requests in flight are finished."""
        predicting.forget_parent()
        sys.setswitchinterval(_SWITCH_S)
        gc.set_threshold(_COLLECT_AFTER)
        self.states.become(number, self.metrics)
        limits = self.options.limits
        server = uvicorn.Server(
            uvicorn.Config(
                self.application,
                http=fast_lane(self.application.predicting),
                loop="uvloop",
                lifespan="off",
                interface="asgi3",
                ws="none",
                log_config=None,
                access_log=False,
                server_header=False,
                timeout_keep_alive=int(limits.keep_alive_s),
                timeout_graceful_shutdown=_GRACE_S,
                backlog=2048,
            )
        )
        loop_factory = server.config.get_loop_factory()
        with asyncio.Runner(loop_factory=loop_factory) as runner:
            runner.run(self._serve(server, listener))

    async def _serve(self, server: uvicorn.Server, listener: socket.socket) -> None:
        await self.events.refresh()
        tasks = [
            asyncio.create_task(self.events.watch(self.states.worker)),
            asyncio.create_task(self.models.watch(self.options.look_s, lambda: self._publish(server))),
            asyncio.create_task(self.challenging.watch(self.options.look_s)),
            asyncio.create_task(sweep_connections(server.server_state)),
            asyncio.create_task(self._keep_up(server, parent=os.getppid())),
        ]
        try:
            await server.serve(sockets=[listener])
        finally:
            for task in tasks:
                task.cancel()
            for task in tasks:
                with contextlib.suppress(asyncio.CancelledError):
                    await task
            self.events.close()
            self._publish(server)
            if self.recorder is not None:
                self.recorder.close()

    async def _keep_up(self, server: uvicorn.Server, *, parent: int) -> None:
        """Publish this worker's state, and follow the secrets file."""
        while True:
            if os.getppid() != parent:
                logger.error("the supervisor is gone; this worker stops")
                server.should_exit = True
            try:
                if self.keys.reload():
                    logger.info("API keys read")
            except SettingsError as error:
                logger.error("API keys not read; those of before stay", extra={"reason": error.message})
            self._publish(server)
            await asyncio.sleep(_PUBLISH_S)

    def _publish(self, server: uvicorn.Server) -> None:
        worker = str(self.states.worker)
        self.metrics.gauge("aforo_waiting_rows", self.budget.waiting, worker)
        self.metrics.gauge("aforo_open_connections", len(server.server_state.connections), worker)
        for model in self.models.models.values():
            self.metrics.gauge("aforo_model_ready", float(CHAMPION in model.live), worker, model.name)
        if self.recorder is not None:
            self.recorder.tend()
        self.states.publish(self.models, self.metrics)
        if self.states.worker == 0:
            self.traffic.tend()
