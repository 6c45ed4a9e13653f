"""Small wrong changes to a module, one at a time: what `tests/mutants.py` tries.

Comparisons, conditions, arithmetic, constants, results, statements, handlers, keywords and filters are changed, in functions and
classes and at the level of the module, under any decorator. Left alone are annotations, docstrings, the texts of messages
(f-strings, and what is raised or logged) and type-checking blocks.
"""

import ast
import copy
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

_COMPARISONS: dict[type[ast.cmpop], list[type[ast.cmpop]]] = {
    ast.Lt: [ast.LtE, ast.GtE],
    ast.LtE: [ast.Lt, ast.Gt],
    ast.Gt: [ast.GtE, ast.LtE],
    ast.GtE: [ast.Gt, ast.Lt],
    ast.Eq: [ast.NotEq],
    ast.NotEq: [ast.Eq],
    ast.Is: [ast.IsNot],
    ast.IsNot: [ast.Is],
    ast.In: [ast.NotIn],
    ast.NotIn: [ast.In],
}
_OPERATORS: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.FloorDiv,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
    ast.BitOr: ast.BitAnd,
    ast.BitAnd: ast.BitOr,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
}
#: Calls whose arguments are words to a person, and which nobody has to notice.
_TALK = {"debug", "info", "warning", "error", "exception", "log", "run_log", "getLogger", "get_logger"}
#: Calls that give a person a reason, which ends up in what is raised; the names among their arguments are no words.
_REASONS = {"refuse", "refuse_always"}
#: Keywords whose values are words to a person.
_WORDS = {"title", "description", "help", "message", "examples"}
#: What has no effect on what a module does.
_INERT = {"Literal", "TypeVar", "NewType", "cast", "overload"}


@dataclass(frozen=True)
class Mutant:
    """One wrong change, named by what it is and not by its line: others' changes to a file leave it as it is."""

    path: str
    #: Function or class, "" at the level of the module.
    where: str
    before: str
    after: str
    #: Which of those that read alike.
    number: int
    first_line: int
    last_line: int
    #: What tells of tests where no test runs the line itself: of what an import sets, its name; of what is computed once, the function's.
    names: tuple[str, ...]
    #: Whether it is computed once: by the first test that asks for it.
    cached: bool
    #: The outermost function that it is in, by its qualified name; "" where an import runs it.
    function: str
    _tree: ast.Module
    _node: ast.AST
    _other: ast.AST

    def module(self) -> ast.Module:
        """The whole module, changed."""
        copies: dict[int, ast.AST] = {}
        tree = copy.deepcopy(self._tree, copies)
        _Exchange(copies[id(self._node)], ast.copy_location(self._other, self._node)).visit(tree)
        return ast.fix_missing_locations(tree)

    @property
    def id(self) -> str:
        number = f" ({self.number})" if self.number else ""
        return f"{self.path}:{self.where}: {self.before} -> {self.after}{number}"


def _talks(node: ast.AST) -> bool:
    if not isinstance(node, ast.Call):
        return False
    name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    return name in _TALK


class _Finder(ast.NodeVisitor):
    """Every change to a module: a node, and what stands in its stead."""

    def __init__(self) -> None:
        self.found: list[tuple[str, tuple[str, ...], bool, str, ast.AST, ast.AST]] = []
        self._where: list[str] = []
        self._function = ""
        self._names: tuple[str, ...] = ()
        self._cached = False
        self._in_words = 0

    def _add(self, node: ast.AST, *others: ast.AST) -> None:
        where = ".".join(self._where)
        self.found += [(where, self._names, self._cached, self._function, node, other) for other in others]

    # Where no change is made.

    def visit_arg(self, node: ast.arg) -> None:
        pass

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:
        pass

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value is not None:
            self.visit(node.value)

    def visit_If(self, node: ast.If) -> None:
        if ast.unparse(node.test) != "TYPE_CHECKING":
            self._add(node, ast.If(ast.UnaryOp(ast.Not(), node.test), node.body, node.orelse))
            self.generic_visit(node)

    def visit_Subscript(self, node: ast.Subscript) -> None:
        if not isinstance(node.value, ast.Name) or node.value.id not in _INERT:
            self.generic_visit(node)

    # Scopes.

    def _scope(self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> None:
        body = node.body[1:] if ast.get_docstring(node, clean=False) is not None else node.body
        if isinstance(node, ast.ClassDef):
            if any("Protocol" in ast.unparse(base) for base in node.bases):
                return
            defaults: list[ast.expr] = []
        else:
            defaults = [default for default in (*node.args.defaults, *node.args.kw_defaults) if default is not None]
        before = (self._names, self._cached, self._function)
        self._names, self._cached = (node.name,), any("cache" in ast.unparse(each) for each in node.decorator_list)
        self._where.append(node.name)
        self._body(defaults, at_import=False)
        if not isinstance(node, ast.ClassDef):
            self._function = self._function or ".".join(self._where)
        self._body(body, at_import=isinstance(node, ast.ClassDef))
        self._where.pop()
        self._names, self._cached, self._function = before

    def _body(self, nodes: Iterable[ast.AST], at_import: bool) -> None:
        for each in nodes:
            if at_import and isinstance(each, ast.Assign | ast.AnnAssign):
                targets = each.targets if isinstance(each, ast.Assign) else [each.target]
                self._names = tuple(
                    name.id for target in targets for name in ast.walk(target) if isinstance(name, ast.Name)
                )
            self.visit(each)

    visit_FunctionDef = _scope  # noqa: N815 (the names are ast's)
    visit_AsyncFunctionDef = _scope  # noqa: N815
    visit_ClassDef = _scope  # noqa: N815

    def visit_Module(self, node: ast.Module) -> None:
        self._body(node.body[1:] if ast.get_docstring(node) is not None else node.body, at_import=True)

    # Statements.

    def visit_Expr(self, node: ast.Expr) -> None:
        if _talks(node.value) or isinstance(node.value, ast.Constant):
            return
        self._add(node, ast.Pass())
        self.generic_visit(node)

    def visit_Assign(self, node: ast.Assign) -> None:
        if any(isinstance(target, ast.Attribute | ast.Subscript) for target in node.targets):
            self._add(node, ast.Pass())
        self.generic_visit(node)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        self._add(node, ast.Pass())
        self.generic_visit(node)

    def visit_Delete(self, node: ast.Delete) -> None:
        self._add(node, ast.Pass())

    def visit_Raise(self, node: ast.Raise) -> None:
        self._add(node, ast.Pass())
        self._in_words += 1
        self.generic_visit(node)
        self._in_words -= 1

    def visit_Continue(self, node: ast.Continue) -> None:
        self._add(node, ast.Break())

    def visit_Break(self, node: ast.Break) -> None:
        self._add(node, ast.Continue())

    def visit_Return(self, node: ast.Return) -> None:
        if node.value is None:
            self._add(node, ast.Pass())
        elif not (isinstance(node.value, ast.Constant) and node.value.value is None):
            self._add(node, ast.Return(ast.Constant(None)))
            self.generic_visit(node)

    def visit_ExceptHandler(self, node: ast.ExceptHandler) -> None:
        if not any(isinstance(each, ast.Raise) for each in node.body):
            self._add(node, ast.ExceptHandler(node.type, node.name, [ast.Raise()]))
        for each in node.body:
            self.visit(each)

    # Expressions.

    def visit_Compare(self, node: ast.Compare) -> None:
        for at, op in enumerate(node.ops):
            for other in _COMPARISONS[type(op)]:
                ops = [*node.ops[:at], other(), *node.ops[at + 1 :]]
                self._add(node, ast.Compare(node.left, ops, node.comparators))
        self.generic_visit(node)

    def visit_BoolOp(self, node: ast.BoolOp) -> None:
        self._add(node, ast.BoolOp(ast.Or() if isinstance(node.op, ast.And) else ast.And(), node.values))
        for at in range(len(node.values)):
            rest = [*node.values[:at], *node.values[at + 1 :]]
            self._add(node, ast.BoolOp(node.op, rest) if len(rest) > 1 else rest[0])
        self.generic_visit(node)

    def visit_BinOp(self, node: ast.BinOp) -> None:
        text = any(
            isinstance(side, ast.JoinedStr) or isinstance(getattr(side, "value", 0), str | bytes)
            for side in (node.left, node.right)
        )
        if type(node.op) in _OPERATORS and not text:
            self._add(node, ast.BinOp(node.left, _OPERATORS[type(node.op)](), node.right))
        self.generic_visit(node)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> None:
        if isinstance(node.op, ast.Not | ast.USub):
            self._add(node, node.operand)
        if not isinstance(node.op, ast.USub):
            self.generic_visit(node)

    def visit_IfExp(self, node: ast.IfExp) -> None:
        self._add(node, ast.IfExp(ast.UnaryOp(ast.Not(), node.test), node.body, node.orelse))
        self.generic_visit(node)

    def visit_comprehension(self, node: ast.comprehension) -> None:
        for at in range(len(node.ifs)):
            ifs = [*node.ifs[:at], *node.ifs[at + 1 :]]
            self._add(node, ast.comprehension(node.target, node.iter, ifs, node.is_async))
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        if _talks(node) or (isinstance(node.func, ast.Name) and node.func.id in _INERT):
            return
        if not self._in_words:
            for at in range(len(node.keywords)):
                self._add(node, ast.Call(node.func, node.args, [*node.keywords[:at], *node.keywords[at + 1 :]]))
        reasons = isinstance(node.func, ast.Attribute) and node.func.attr in _REASONS
        self._in_words += reasons
        for child in (node.func, *node.args):
            self.visit(child)
        self._in_words -= reasons
        for child in (each.value for each in node.keywords if each.arg not in _WORDS):
            self.visit(child)

    def visit_Constant(self, node: ast.Constant) -> None:
        value = node.value
        if isinstance(value, bool):
            self._add(node, ast.Constant(not value))
        elif isinstance(value, int | float):
            self._add(node, ast.Constant(value + 1))
        elif isinstance(value, str) and not (self._in_words and " " in value):
            self._add(node, ast.Constant(value + "~" if value else "~"))
        elif isinstance(value, bytes):
            self._add(node, ast.Constant(value + b"~"))


class _Exchange(ast.NodeTransformer):
    def __init__(self, node: ast.AST, other: ast.AST) -> None:
        self._node, self._other = node, other

    def visit(self, node: ast.AST) -> ast.AST:
        return self._other if node is self._node else self.generic_visit(node)


def _short(node: ast.AST) -> str:
    """A node's text: of a statement with a body, its head."""
    text = ast.unparse(node)
    return text.splitlines()[0] if isinstance(node, ast.stmt) else " ".join(text.split())


def mutants(path: str, source: str) -> Iterator[Mutant]:
    """Every mutant of a module."""
    tree = ast.parse(source)
    finder = _Finder()
    finder.visit(tree)
    seen: dict[tuple[str, str, str], int] = {}
    for where, names, cached, function, node, other in finder.found:
        before, after = _short(node), _short(other)
        if isinstance(node, ast.ExceptHandler):
            after += " raise"
        key = (where, before, after)
        seen[key] = seen.get(key, -1) + 1
        # Of an if, the tests that ask it: whether they go into it or not.
        place = node.target if isinstance(node, ast.comprehension) else node.test if isinstance(node, ast.If) else node
        first, last = place.lineno, place.end_lineno  # type: ignore[attr-defined]
        yield Mutant(path, where, before, after, seen[key], first, last, names, cached, function, tree, node, other)
