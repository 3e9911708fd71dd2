"""The composition root: a Config becomes a running application. Nothing is wired anywhere else."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import time
from typing import TYPE_CHECKING, Any, Final

import uuid_utils
from litestar import Litestar, Router
from litestar.datastructures import State
from opentelemetry import trace
from opentelemetry.semconv.attributes.service_attributes import SERVICE_INSTANCE_ID
from opentelemetry.trace import ProxyTracerProvider

from bridge_app.accounting import Ledger
from bridge_app.api import destinations, system
from bridge_app.api.executions import ExecutionsController
from bridge_app.api.jaeger.routes import JaegerController
from bridge_app.api.openapi import openapi_config
from bridge_app.api.otlp import receive_traces
from bridge_app.api.scans import Scans
from bridge_app.api.traces import TracesController
from bridge_app.auth import guard
from bridge_app.cleaning import Bounds
from bridge_app.config_otlp import resource
from bridge_app.daemons import Daemon
from bridge_app.forwarding import Forwarding, left_behind
from bridge_app.history import History
from bridge_app.metrics import Metrics
from bridge_app.observed import Parts
from bridge_app.otlp_in import OtlpReceiver
from bridge_app.plugins.runner import PluginRunner
from bridge_app.plugins.settings import runner_settings
from bridge_app.problem_handlers import exception_handlers
from bridge_app.store_watch import LOOK_EVERY_SECONDS
from bridge_app.stores import store_arguments
from bridge_app.trace_context import Policies
from bridge_app.webhooks import Bridge, receive
from exporters.otlp.given import Rules
from otel_tracker import configure
from otel_tracker.capture import CaptureSettings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from bridge_app.config import Config
    from otel_tracker.provider import Configured

logger = logging.getLogger("bridge_app.app")
_DRAIN_STARTS_WITHIN_SECONDS: Final = 2.0
_EXPIRE_EVERY_SECONDS: Final = 10.0


class Application:
    """One bridge: its parts, in the order in which they start and, reversed, stop."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self._resource = resource(os.environ)
        tracking = config.execution_tracking
        instance_id = str(uuid_utils.uuid7())
        self.history = _history(config, instance_id) if tracking.enabled else None
        if not self.history and config.forwarding.destinations:
            logger.warning("Nothing is forwarded: execution_tracking.enabled is false")
        _warn_of_left_behind(config)
        self.tracking: Configured | None = None
        if self.history:
            self.tracking = configure(
                self.history.spooled,
                service_name=self._resource["service.name"],
                settings=capture_settings(config),
                instance_id=instance_id,
                shutdown_on_exit=False,
            )
            if config.plugins.isolation == "thread" and isinstance(trace.get_tracer_provider(), ProxyTracerProvider):
                trace.set_tracer_provider(self.tracking.provider)  # plugins in threads ask for tracers in this process
        self.runner = PluginRunner(runner_settings(config))
        self.bridge = Bridge(
            runner=self.runner,
            tracker=self.tracking.tracker if self.tracking else None,
            history=self.history,
            durability=tracking.durability,
            policies=Policies(config.plugins.trace_context, config.plugins.trace_context_of),
        )
        self.ledger = (
            Ledger(history=self.history, processor=self.tracking.processor) if self.history and self.tracking else None
        )
        self.otlp = _otlp(config, self.history, self.tracking) if self.history and self.tracking else None
        self.metrics = Metrics(
            Parts(self.bridge, self.runner, self.history, self.ledger, self.otlp),
            resource=self._resource | {SERVICE_INSTANCE_ID: instance_id},
            push=config.metrics.otlp,
        )
        self.start_error: Exception | None = None
        self._daemons: list[Daemon] = []

    def begin_stop(self) -> None:
        """Readiness goes 503 and new deliveries are refused; those in flight go on. A cleanup ends with its batch."""
        self.bridge.is_stopping = True
        if self.history:
            self.history.cleaner.begin_stop()

    def asgi(self) -> Litestar:
        """The Litestar application."""
        api: list[Any] = [
            receive,
            ExecutionsController,
            TracesController,
            system.list_plugins,
            system.get_plugin,
            destinations.list_destinations,
        ]
        return Litestar(
            route_handlers=[
                Router("/api/v1", route_handlers=api),
                Router("/api/latest", route_handlers=api, include_in_schema=False),
                JaegerController,
                system.health,
                system.live,
                system.metrics,
                *([receive_traces] if self.config.otlp_in.enabled else []),
            ],
            state=State(
                {
                    "bridge": self.bridge,
                    "history": self.history,
                    "ledger": self.ledger,
                    "metrics": self.metrics,
                    "scans": Scans(self.config.server.max_scans),
                    "otlp": self.otlp,
                    "is_guarded": bool(self.config.auth.token),
                    "links": self.config.links,
                    "resource": self._resource,
                }
            ),
            lifespan=[self._lifespan],
            exception_handlers=exception_handlers(),
            openapi_config=openapi_config(token_required=bool(self.config.auth.token)),
            request_max_body_size=self.config.server.max_body_bytes,
            logging_config=None,
            middleware=[lambda app: guard(app, token=self.config.auth.token, host=self.config.server.host)],
        )

    @contextlib.asynccontextmanager
    async def _lifespan(self, _: Litestar) -> AsyncIterator[None]:
        try:
            await self._start()
        except Exception as error:
            self.start_error = error  # the server tells that start-up failed, and not why
            await self._stop()
            raise
        try:
            yield
        finally:
            await self._stop()

    async def _start(self) -> None:
        if self.history:
            self.history.bind(asyncio.get_running_loop())
            await asyncio.to_thread(self.history.start)
            self._daemons = _daemons(self.history, cleanup_seconds=self.config.execution_tracking.cleanup_interval)
            if self.otlp:
                self._daemons.append(Daemon("otlp-held", interval_seconds=_EXPIRE_EVERY_SECONDS, act=self.otlp.expire))
            for daemon in self._daemons:
                daemon.start()
            logger.info("Execution cleanup worker started")
        await self.runner.start()
        if self.history:
            await asyncio.to_thread(self.history.wait_for_drain, _DRAIN_STARTS_WITHIN_SECONDS)
        # What start-up made stays for good; scanning it again and again costs tails of tens of milliseconds.
        gc.collect()
        gc.freeze()
        gc.set_threshold(20_000, 20, 50)

    async def _stop(self) -> None:
        self.begin_stop()
        await self.runner.stop(self.config.server.shutdown_grace_seconds)
        for daemon in self._daemons:
            daemon.stop()
        if self.otlp:
            await asyncio.to_thread(self.otlp.close)
        if self.history:
            self.history.answers.flush()
            await asyncio.to_thread(self.history.close)
        if self.tracking:
            self.tracking.shutdown()
        await asyncio.to_thread(self.metrics.close)


def _warn_of_left_behind(config: Config) -> None:
    names = [one.name for one in config.forwarding.destinations]
    try:
        left = left_behind(config.forward_directory(), names)
    except OSError as error:
        logger.warning("Whether spans wait for a destination that is not configured any more is not known: %s", error)
        return
    for name, size in left.items():
        folder = config.forward_directory() / name
        logger.warning("%d bytes wait for the destination %s, which is not configured: put it back, or delete %s",
                       size, name, folder)  # fmt: skip


def _daemons(history: History, *, cleanup_seconds: float) -> list[Daemon]:
    look = history.watch.look
    return [
        Daemon(
            "retention", interval_seconds=cleanup_seconds, act=lambda: history.cleaner.by_itself(now=time.time_ns())
        ),
        Daemon("store-watch", interval_seconds=LOOK_EVERY_SECONDS, act=look, waits_first=False),
    ]


def _history(config: Config, instance_id: str) -> History:
    tracking = config.execution_tracking
    return History(
        store=store_arguments(config),
        spool_root=config.spool_directory(),
        spool_max_bytes=tracking.spool.max_bytes,
        sync=tracking.durability == "disk",
        instance_id=instance_id,
        bounds=Bounds.from_config(config),
        forwarding=Forwarding.from_config(config, os.environ, instance_id=instance_id),
    )


def _otlp(config: Config, history: History, tracking: Configured) -> OtlpReceiver:
    settings = config.otlp_in
    return OtlpReceiver(
        history,
        rules=Rules(capture=tracking.tracker.settings, redactor=tracking.tracker.redactor),
        max_unpacked_bytes=settings.max_unpacked_bytes,
        max_held_spans=settings.max_held_spans,
        hold_seconds=settings.hold_seconds,
    )


def capture_settings(config: Config) -> CaptureSettings:
    """What of an execution is kept."""
    tracking = config.execution_tracking
    return CaptureSettings(
        track_input=tracking.track_input,
        track_output=tracking.track_output,
        track_errors=tracking.track_errors,
        max_input_size=tracking.max_input_size,
        max_output_size=tracking.max_output_size,
        redact_keys=tracking.redact_keys,
    )
