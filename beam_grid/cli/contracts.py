"""contracts: list, show, suggest, init and check."""

from __future__ import annotations

import click

from beam_grid.cli.options import CONTEXT, FORMAT, LAKE
from beam_grid.console import say
from beam_grid.errors import GridError


@click.group(context_settings=CONTEXT)
def contracts() -> None:
    """List, show and check contracts."""


@contracts.command("list")
@FORMAT
def contracts_list(form: str) -> None:
    """The built-in feeds."""
    import pyarrow as pa

    from beam_grid.feeds import built_in
    from beam_grid.show import show

    rows = [
        {
            "feed": c.name,
            "format": c.format,
            "topic": c.topic,
            "load": c.lake.load,
            "windows": ", ".join(w.name for w in c.windows),
            "description": c.description,
        }
        for c in built_in().values()
    ]
    show(pa.Table.from_pylist(rows), form)


@contracts.command("show")
@click.argument("feed")
@click.option("--format", "form", type=click.Choice(["md", "ddl", "arrow"]), default="md", show_default=True)
@click.option("--contract", "path", metavar="FILE", help="Show this file's instead of a built-in one.")
def contracts_show(feed: str, form: str, path: str | None) -> None:
    """One feed's contract as Markdown, Spark DDL or Arrow schema. FEED is a name or a contract file."""
    from beam_grid.feeds import chosen
    from data_sources import faces
    from data_sources.contract import load_contract

    if path is None and feed.endswith(".toml"):
        path = feed
    contract = load_contract(path) if path else chosen((feed,), (), "")[0]
    click.echo({"md": faces.markdown, "ddl": faces.ddl, "arrow": faces.arrow}[form](contract))


@contracts.command("suggest")
@click.argument("feed")
@LAKE
def contracts_suggest(feed: str, lake: str) -> None:
    """Contract lines that would adopt the unknown fields which landed in _extra."""
    from beam_grid.landing import Lake
    from beam_grid.suggest import lines, unknown_fields

    opened = Lake.open(lake, create=False)
    fields = unknown_fields(opened, feed)
    if not fields:
        say(f"{feed}: no unknown fields have landed")
        return
    click.echo(lines(opened.feed(feed).contract(), fields), nl=False)


@contracts.command("init")
@click.argument("file")
@click.option("--name", metavar="F", help="The feed's name; without it that of the file, folder or topic.")
@click.option("--time-zone", "zone", metavar="Z", help="Of local times, as Europe/Berlin; without it a question.")
@click.option("--out", metavar="FILE.toml", help="Where the contract is written; without it to stdout.")
@click.option("--kafka-config", metavar="FILE", envvar="BEAM_GRID_KAFKA_CONFIG", help="As of land.")
def contracts_init(file: str, name: str | None, zone: str | None, out: str | None, kafka_config: str | None) -> None:
    """Write a first contract from a sample: a file, folder, glob or archive, or kafka://host:port/topic."""
    from beam_grid.first_contract import first_contract
    from beam_grid.first_contract.closing import closing
    from beam_grid.first_contract.place import check_place, write_to

    if out is not None:
        check_place(out)
    first = first_contract(file, name, zone, kafka_config)
    if out is None:
        click.echo(first.text, nl=False)
    else:
        write_to(out, first.text)
    for line in closing(first, out, kafka_config):
        say(line)


@contracts.command("check")
@click.argument("file")
def contracts_check(file: str) -> None:
    """Say what is wrong with a contract file, naming field and remedy."""
    from beam_grid.feeds import built_in
    from beam_grid.lakehouse.steps import check_owners
    from data_sources.contract import ContractError, load_contract
    from data_sources.lake_tables import clash

    contract = load_contract(file)
    try:
        check_owners({contract.name: contract})  # the names of analyses are taken in every lake
    except GridError as cause:
        raise ContractError(f"contract {file}, {cause}") from cause
    shared = clash(contract, built_in().values())
    for warning in [*contract.warnings, *([shared] if shared else [])]:
        say(f"{file}: warning: {warning}")
    click.echo(
        f"{file}: ok: feed {contract.name}, {len(contract.fields)} fields, {len(contract.windows)} windows, {len(contract.rules)} rules"
    )
