"""What makes a shell complete the command."""

import pytest
from click.testing import CliRunner

from flows.cli.completion import completion_command


@pytest.mark.parametrize(
    ("shell", "parts"),
    [
        ("bash", ("_BEDROCK_BATCH_COMPLETE=bash_complete", "complete -o nosort -F")),
        ("zsh", ("#compdef bedrock-batch", "_BEDROCK_BATCH_COMPLETE=zsh_complete")),
        ("fish", ("_BEDROCK_BATCH_COMPLETE=fish_complete", "complete --no-files --command bedrock-batch")),
    ],
)
def test_each_shell_has_a_script(shell: str, parts: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    # click asks bash for its version before it says the script.
    monkeypatch.setattr("click.shell_completion.BashComplete._check_version", lambda *_: None)
    done = CliRunner().invoke(completion_command, [shell])
    assert done.exit_code == 0
    for part in parts:
        assert part in done.output


def test_other_shells_are_a_mistake_of_usage() -> None:
    done = CliRunner().invoke(completion_command, ["csh"])
    assert done.exit_code == 2
    assert "'csh' is not one of 'bash', 'zsh', 'fish'" in done.output
    assert "Missing argument" in CliRunner().invoke(completion_command, []).output
