"""serve with its API keys, and run-lakes: processes that stay."""

from __future__ import annotations

from typing import Any

import click

from beam_grid.cli.options import CONTEXT, FORMAT, LAKE, METRICS_HOST, METRICS_PORT, Duration
from beam_grid.cli.process import answering, exit_with
from beam_grid.console import say
from beam_grid.interrupt import ends_in_order


@click.command("serve")
@LAKE
@click.option("--host", default="127.0.0.1", show_default=True, metavar="HOST", help="Other than loopback needs keys.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8080, show_default=True, metavar="N", help="0: a free one."
)
@click.option(
    "--keys", "keys_file", metavar="FILE", envvar="BEAM_GRID_KEYS", help="Keys; LAKE/server/keys.json unless given."
)
@click.option("--require-keys", is_flag=True, help="On loopback too.")
@click.option("--allow-host", "allow_hosts", multiple=True, metavar="NAME", help="A name that a proxy before it has.")
@click.option("--tls-cert", metavar="FILE", help="PEM: the certificate and its chain; with --tls-key.")
@click.option("--tls-key", metavar="FILE", help="PEM: the certificate's key.")
@click.option("--timeout", type=Duration(least_s=0.1), default="10s", show_default=True, help="A statement's, at most.")
@click.option("--max-rows", type=click.IntRange(1), default=1_000_000, show_default=True, help="Rows of an answer.")
@click.option("--memory-mib", type=click.IntRange(64), default=512, show_default=True, help="A statement's, at most.")
@click.option("--workers", type=click.IntRange(1, 64), help="Statements answered at once; two a core unless given.")
def serve_lake(**given: Any) -> None:
    """Serve tables, SQL, ledger, lineage, status and news over HTTP, on loopback unless told otherwise."""
    from beam_grid.server.commands import serve_until

    with ends_in_order() as ending:
        serve_until(ending, say, **given)


@click.group(context_settings=CONTEXT)
def keys() -> None:
    """API keys of `serve`: add, list, revoke."""


LAKES = click.option(
    "--lake", "lakes", required=True, multiple=True, metavar="DIR", help="The lake; several with --keys."
)
KEYS = click.option(
    "--keys", "keys_file", metavar="FILE", envvar="BEAM_GRID_KEYS", help="LAKE/server/keys.json unless given."
)


@keys.command("add")
@click.argument("name")
@LAKES
@KEYS
@click.option(
    "--table", "tables", multiple=True, metavar="PATTERN", help="Tables it reaches, as gold.*; all unless given."
)
@click.option("--rate", default="100/second", show_default=True, help="Requests it may make, as 6000/minute.")
@click.option("--expires", type=Duration(least_s=1), metavar="90d", help="From now; never unless given.")
def keys_add(name: str, **given: Any) -> None:
    """Make a key and print it, once; only its hash is kept."""
    from beam_grid.server.commands import add_key

    click.echo(add_key(name, **given))


@keys.command("list")
@LAKES
@KEYS
@FORMAT
def keys_list(lakes: tuple[str, ...], keys_file: str | None, form: str) -> None:
    """Keys with what they reach, revoked ones too."""
    from beam_grid.server.commands import list_keys
    from beam_grid.show import show

    show(list_keys(lakes, keys_file), form)


@keys.command("revoke")
@click.argument("which", metavar="NAME")
@LAKES
@KEYS
def keys_revoke(which: str, lakes: tuple[str, ...], keys_file: str | None) -> None:
    """Refuse a key, by name or id, from the next request on."""
    from beam_grid.server.commands import revoke_key

    for line in revoke_key(which, lakes, keys_file):
        say(line)


@click.command()
@click.argument("file", metavar="LAKES.toml")
@METRICS_PORT
@METRICS_HOST
def run_lakes(file: str, metrics_port: int, metrics_host: str) -> None:
    """Follow several lakes, each with limits of its own: a process per lake, started anew when it ends."""
    from beam_grid.service.lakes import served_lakes
    from beam_grid.service.run_lakes import Serving

    serving = Serving(served_lakes(file))
    with answering(serving.tellings, metrics_port, metrics_host, serving.missing):
        exit_with(serving.run())
