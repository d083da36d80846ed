"""The command `batchexport schema`."""

from __future__ import annotations

import click

from batchexport.cli.console import echo


@click.command(short_help="Print a JSON Schema of the manifest, for editors.")
def schema() -> None:
    """Print a JSON Schema of the manifest.

    \b
    Write it beside your manifest, and name it in the manifest's first line:
      batchexport schema > manifest.schema.json
      #:schema ./manifest.schema.json
    Editors with taplo, such as VS Code with Even Better TOML, then complete and check the keys.
    """
    import json

    from batchexport.manifest.json_schema import json_schema

    echo([json.dumps(json_schema(), indent=2)])
