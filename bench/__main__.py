"""`python -m bench`: every benchmark by its name, and two of their results beside each other."""

from __future__ import annotations

import importlib
from pathlib import Path

import click

# What each measures, in the order of the README. One that is not here is no benchmark.
BENCHMARKS = {
    "propagation": "one POST, from sent to answered, beside its parts",
    "fanout": "durable to applied, on 1, 10 and 100 workers",
    "scale": "POSTs into catalogs of 1k, 10k and 100k models",
    "restore": "a router, a worker from started to ready with 10k models, beside reading the same bytes",
    "listener": "a request over HTTP, on one core: the listener, hypercorn, bare httptools",
    "backends": "a batch by eager torch, oneDNN, ONNX Runtime and torch.compile",
    "hop": "a request through a router, beside one that asks the worker",
    "throughput": "texts a second served, beside the bare model's own; padding; where the time goes",
    "latency": "requests at random times: percentiles from the scheduled send, goodput, what is refused",
    "memory": "what 200,000 requests leave behind in the server",
    "hangups": "clients that hang up at once, read slowly, write slowly: what it costs the others",
}


class _ByName(click.Group):
    """Imports a benchmark when it is run: some of them need torch, and the list needs none."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*(name for name in BENCHMARKS if (Path(__file__).parent / f"{name}.py").exists()), "compare"]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.list_commands(ctx):
            return None
        found: click.Command = importlib.import_module(f"bench.{cmd_name}").main
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        said = {**BENCHMARKS, "compare": "two saved results of one benchmark: what moved"}
        with formatter.section("Benchmarks"):
            formatter.write_dl([(name, said[name]) for name in self.list_commands(ctx)])


@click.command(cls=_ByName, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
def main() -> None:
    """Run one of the benchmarks: `python -m bench NAME --help` says what it can be asked."""


if __name__ == "__main__":
    main(prog_name="python -m bench")
