"""`multitenant completion`."""

import click
from click.shell_completion import get_completion_class

PROGRAM = "multitenant"


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print what completes this command in your shell, when Tab is pressed.

    \b
    Examples:
      eval "$(multitenant completion bash)"      # in ~/.bashrc
      eval "$(multitenant completion zsh)"       # in ~/.zshrc
      multitenant completion fish | source       # in ~/.config/fish/config.fish
    """  # noqa: D301  # click wants a real backspace here
    completer = get_completion_class(shell)
    assert completer is not None
    root = click.get_current_context().find_root().command
    click.echo(completer(root, {}, PROGRAM, f"_{PROGRAM.upper()}_COMPLETE").source())
