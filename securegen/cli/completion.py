"""securegen completion"""

from __future__ import annotations

import click

SHELLS = ("bash", "zsh", "fish")


@click.command()
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def command(ctx: click.Context, shell: str) -> None:
    """Print a script that completes commands, options and file names.

    \b
    bash:  source <(securegen completion bash)
    zsh:   source <(securegen completion zsh)
    fish:  securegen completion fish > ~/.config/fish/completions/securegen.fish
    """
    from click.shell_completion import get_completion_class

    made = get_completion_class(shell)
    assert made is not None
    script = made(ctx.find_root().command, {}, "securegen", "_SECUREGEN_COMPLETE")
    click.echo(script.source_template % script.source_vars())
