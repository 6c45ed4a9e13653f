"""`bedrock-batch completion`."""

import click
from click.shell_completion import get_completion_class

from flows.cli.exits import DONE
from flows.cli.main import bedrock_batch

_NAME = "bedrock-batch"


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion_command(shell: str) -> int:
    """Print what makes a shell complete this command: eval "$(bedrock-batch completion bash)"."""
    found = get_completion_class(shell)
    assert found is not None, "click knows the three"
    variable = f"_{_NAME}_complete".replace("-", "_").upper()
    click.echo(found(bedrock_batch, {}, _NAME, variable).source())
    return DONE
