"""A service as a program: logs, signals, what is printed at start, and the exit."""

from __future__ import annotations

import gc
import logging
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeAlias

import trio

from sie.files import load_catalog
from sie.observe.logs import configure_logs
from sie.settings import Settings

log = logging.getLogger(__name__)

# `serve(settings, stop=…, task_status=…)`: says started with its address, and returns some time after `stop`. One that
# reads what it serves after that takes `settled=…` as well, an event, and sets it when it has, or ends.
Serve: TypeAlias = Callable[..., Awaitable[None]]

# Python switches threads every 5 ms by default, and the Trio thread would wait that long behind a busy tokeniser.
# Measured with MiniLM encoding on two threads: timer lag p99 3.4 ms at the default, 1.15 ms at this value.
SWITCH_INTERVAL_S = 0.0005

_MODELS_SHOWN = 20


def run_program(
    serve: Serve, settings: Settings, summary: Callable[[Settings, str], str], *, settles: bool = False
) -> None:
    """The whole life of a service: until SIGTERM or SIGINT. Returning, or not coming back, means exit status 0.

    `settles`: whether `serve` takes `settled`.
    """
    configure_logs(level=settings.log_level, as_json=settings.log_json)
    trio.run(_serve_until_told, serve, settings, summary, settles)
    if "torch" in sys.modules:
        # All is done and let go of. A thread that was in torch's C++ and comes back while the interpreter is taken
        # apart aborts the process ("terminate called"). Seen once; the cause is a reading of it.
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)


async def _serve_until_told(
    serve: Serve, settings: Settings, summary: Callable[[Settings, str], str], settles: bool
) -> None:
    stop, settled = trio.Event(), trio.Event()
    if settles:
        serve = partial(serve, settled=settled)
    else:
        settled.set()
    serving = trio.CancelScope()
    async with trio.open_nursery() as watching:
        await watching.start(_watch_signals, stop, serving, settings.grace_s)
        with serving:  # a second signal that comes after this has ended cancels nothing
            async with trio.open_nursery() as ports:
                gc.disable()  # a growing catalog is all that it would find: a sixth of a start with 10,000 models
                try:
                    address = await ports.start(partial(serve, settings, stop=stop))
                    print(summary(settings, address), flush=True)
                    await settled.wait()
                finally:
                    gc.enable()
                gc.freeze()  # the catalog stays: a search for garbage in 10,000 models stops all for 70 ms
                sys.setswitchinterval(SWITCH_INTERVAL_S)  # not before: a start reads in many threads at once
        watching.cancel_scope.cancel(reason="served to the end")


async def _watch_signals(
    stop: trio.Event, serving: trio.CancelScope, grace_s: float, *, task_status: trio.TaskStatus[None]
) -> None:
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        task_status.started()
        async for number in signals:
            name = signal.Signals(number).name
            if stop.is_set():
                log.warning("%s again: dropping what is in flight", name)
                serving.cancel(reason=f"{name} came twice")
            else:
                log.info("%s: finishing what is in flight, %.0f s at most", name, grace_s)
                stop.set()


def plain_summary(kind: str) -> Callable[[Settings, str], str]:
    """One line, for what is one of many."""

    def summary(settings: Settings, address: str) -> str:
        return f"SIE {kind} is serving at {address}"

    return summary


def engine_summary(settings: Settings, address: str) -> str:
    """What a person sees at start, ending in two commands that work as they are."""
    catalog, _ = load_catalog(settings)
    known = catalog.models()
    models = [f"  {one.sie_id}  ({', '.join(one.profiles)})" for one in known[:_MODELS_SHOWN]]
    if len(known) > _MODELS_SHOWN:
        models.append(f"  … and {len(known) - _MODELS_SHOWN} more")
    closed = settings.admin_token or settings.auth_token
    token = ' -H "Authorization: Bearer $SIE_ADMIN_TOKEN"' if closed else ""
    model = known[0].sie_id if known else "org/model"
    return f"""
SIE is serving at {address}

  bundles   {", ".join(catalog.bundles)}
  store     {settings.store_dir or "in memory: added models are lost on restart (SIE_CONFIG_STORE_DIR)"}
  restore   {"yes" if settings.restore else "no (SIE_CONFIG_RESTORE)"}
  tokens    {"asked for" if token else "none: everybody may add models and infer (SIE_AUTH_TOKEN, SIE_ADMIN_TOKEN)"}
  device    {settings.device}
models
{chr(10).join(models)}

Try:
  curl {address}/v1/embeddings -H "Content-Type: application/json"{token} \\
    -d '{{"model": "{model}", "input": "Add a model with one POST"}}'
  curl {address}/v1/configs/models -H "Content-Type: application/x-yaml"{token} --data-binary '
sie_id: demo/minilm
hf_id: sentence-transformers/all-MiniLM-L6-v2
profiles:
  default:
    adapter_path: sie_server.adapters.sentence_transformer:SentenceTransformerAdapter
    max_batch_tokens: 8192
'
"""
