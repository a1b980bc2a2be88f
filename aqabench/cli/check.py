"""``aqabench check``: does a method keep the contract?"""

from __future__ import annotations

from pathlib import Path

import rich_click as click

from aqabench.cli.options import METHOD, plugins_option

MARKS = {
    "passed": "[green]passed[/]",
    "failed": "[red]FAILED[/]",
    "opted out": "[yellow]opted out[/]",
}


@click.command("check")
@plugins_option
@click.argument("methods", type=METHOD, nargs=-1, required=True)
def command(plugins: tuple[Path, ...], methods: tuple[str, ...]) -> int:
    """Check that METHODS do not peek, leak, depend on neighbours or on luck.

    The same checks run over every method in the test suite. They use small simulated data and take
    seconds to a minute per method.

    Exit code: 0 all kept or opted out with a reason, 1 a check failed.
    """
    from rich import box
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from aqabench.method.contract import check_method
    from aqabench.method.registry import discover

    registry, console, failed = discover(plugins), Console(), False
    for name in methods:
        with console.status(f"checking {name}"):
            results = check_method(registry, name)
        table = Table(title=name, title_justify="left", box=box.SIMPLE_HEAD, show_edge=False)
        for heading in ("check", "result", "detail"):
            table.add_column(heading, overflow="fold")
        for result in results:
            table.add_row(result.check, MARKS[result.status], escape(result.detail))
        console.print(table)
        failed = failed or any(result.status == "failed" for result in results)
    return 1 if failed else 0
