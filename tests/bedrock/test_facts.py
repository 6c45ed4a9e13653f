"""What is known of each model, in full: a value that changes, or that a row now inherits from another, is seen here.

`facts.txt` is what the table comes to, a model or family a line. Whoever changes a row reads its source again, renews
the file by `python -m tests.bedrock.test_facts`, and looks at what else has changed.
"""

from pathlib import Path
from typing import Any

import msgspec

from tasks.bedrock.capabilities import Capabilities, _read, _table, all_models

FACTS = Path(__file__).with_name("facts.txt")
#: Where and when it was read changes nothing of what is sent.
_ORIGIN = {"id", "known", "seen", "source"}


def _written(value: Any) -> str:
    if isinstance(value, frozenset):
        return ",".join(sorted(value)) or "-"
    return ",".join(map(str, value)) or "-" if isinstance(value, tuple) else str(value)


def _line(name: str, facts: Capabilities) -> str:
    fields = [field for field in msgspec.structs.fields(Capabilities) if field.name not in _ORIGIN]
    usual = {field.name: field.default for field in fields} | _table("").default
    given = {
        name: getattr(facts, name)
        for name, value in usual.items()
        if name not in _ORIGIN and getattr(facts, name) != value
    }
    return " ".join([name, *(f"{field}={_written(value)}" for field, value in given.items())])


def table() -> list[str]:
    ours = _table("")
    families = [_line(f"family {start}", _read(None, start, ours)) for start in ours.families]
    default = " ".join(f"{name}={value}" for name, value in sorted(ours.default.items()) if name not in _ORIGIN)
    return [
        f"default {default}",
        *sorted(families),
        *(_line(name, facts) for name, facts in sorted(all_models().items())),
    ]


def test_what_is_known_of_each_model() -> None:
    known, today = FACTS.read_text(encoding="utf-8").splitlines(), table()
    assert len(known) > 100
    changed = [line for line in today if line not in known]
    changed += [f"no longer: {line}" for line in known if line not in today]
    assert not changed, "python -m tests.bedrock.test_facts writes them, once their source was read again"


if __name__ == "__main__":
    FACTS.write_text("\n".join(table()) + "\n", encoding="utf-8")
