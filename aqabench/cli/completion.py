"""``aqabench completion``: TAB completion for your shell."""

from __future__ import annotations

import rich_click as click
from click.shell_completion import get_completion_class

from aqabench.errors import UsageError


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def command(ctx: click.Context, shell: str) -> None:
    """Print the completion script of SHELL; names of methods and protocols complete too.

    bash:  aqabench completion bash >> ~/.bashrc
    zsh:   aqabench completion zsh >> ~/.zshrc
    fish:  aqabench completion fish > ~/.config/fish/completions/aqabench.fish
    """
    found = get_completion_class(shell)
    if found is None:
        raise UsageError(f"There is no completion for {shell}; give bash, zsh or fish.")
    click.echo(found(ctx.find_root().command, {}, "aqabench", "_AQABENCH_COMPLETE").source())
