"""What `make mutants` stands on: its changes are changes, its notes change nothing, and its list of equivalents is of today's code."""

import ast
import builtins
from collections import Counter
from typing import Any

import pytest

from tests.mutants import known_equivalents
from tests.mutations import mutants
from tests.reached import ROOT, codes_of, noting

SOURCE = '''
"""A module."""
LIMIT = 3


def fits(values: list[int], *, least: int = 0) -> bool:
    """Whether they fit."""
    total = sum(value for value in values if value > least)
    if total >= LIMIT and values:
        raise ValueError("too many")
    elif not values:
        return False
    try:
        return bool(1 // total)
    except ZeroDivisionError:
        return True
'''


def ran(source: Any, values: list[int]) -> Any:
    names: dict[str, Any] = {}
    exec(compile(source, "m", "exec"), names)
    try:
        return names["fits"](values)
    except ValueError as error:
        return str(error)


def test_every_change_is_one_and_can_be_made() -> None:
    found = {mutant.id.removeprefix("m.py:"): mutant for mutant in mutants("m.py", SOURCE)}
    assert {
        ":: 3 -> 4",
        "fits: 0 -> 1",
        "fits: value > least -> value >= least",
        "fits: for value in values if value > least -> for value in values",
        "fits: total >= LIMIT and values -> total >= LIMIT or values",
        "fits: raise ValueError('too many') -> pass",
        "fits: return True -> return None",
        "fits: except ZeroDivisionError: return True -> except ZeroDivisionError: raise raise",
    } <= {name if name.startswith("fits") else f":{name}" for name in found}
    plain = ast.unparse(ast.parse(SOURCE))
    assert not [name for name, mutant in found.items() if ast.unparse(mutant.module()) == plain]
    assert not [name for name in found if "too many~" in name or "Whether" in name or "ValueError~" in name]
    # A name is one change's: of two that read alike, the second has a number.
    assert len(found) == len([*mutants("m.py", SOURCE)])
    changed = found["fits: total >= LIMIT and values -> total >= LIMIT or values"]
    assert (ran(SOURCE, [1]), ran(changed.module(), [1])) == (True, "too many")
    assert (changed.function, changed.first_line) == ("fits", 9)


def test_a_note_stands_before_each_statement_and_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    tree, statements = noting("m.py", SOURCE, 2)
    table = bytearray(2 + len(statements))
    monkeypatch.setattr(builtins, "__reached__", table, raising=False)
    for values in ([], [1], [-1], [5]):
        assert ran(tree, values) == ran(SOURCE, values)
    assert table == bytes([0, 0] + [1] * len(statements))
    table[:] = bytes(len(table))
    ran(tree, [1])
    lines = [statement.first_line for at, statement in enumerate(statements, 2) if table[at]]
    assert lines == [8, 9, 11, 13, 14]
    codes = Counter(code.co_qualname for code in codes_of(compile(tree, "m", "exec")))
    assert codes == {"fits": 1, "fits.<locals>.<genexpr>": 1}


def test_the_list_of_equivalents_is_of_todays_code() -> None:
    listed = known_equivalents()
    assert all(len(reason) > 20 for reason in listed.values())
    paths = {name.partition(":")[0] for name in listed}
    today = {each.id for path in paths for each in mutants(path, (ROOT / path).read_text(encoding="utf-8"))}
    assert listed.keys() - today == set()
