"""From the tree of a filter to one condition in SQL."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from shared.errors import FilterInvalid
from shared.filters.fields import Enum, Field, Name, words
from shared.filters.syntax import And, Literal, Node, Not, Or, Restriction, Value, parse

#: Stands for whoever asks, where a filter names an account.
ME = "users/me"


@dataclass(frozen=True, slots=True)
class Schema:
    """What a resource can be filtered by."""

    fields: Mapping[str, Field]
    #: The tsvector that literals are looked for in.
    search: str
    #: The enum whose restrictions at the top are told apart, so that a list can be read state by state.
    state: str = "state"


@dataclass(frozen=True, slots=True, eq=False)
class Condition:
    """A filter in SQL, over the columns of one table. Compared and hashed by identity: it is made once and kept.

    `sql` is empty where there is nothing to check, and says nothing about the state: that is in `states`.
    """

    sql: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    #: The states that can be in the result; None where the filter leaves all of them.
    states: frozenset[str] | None = None
    #: Whether an index finds the few resources that it lets through.
    selective: bool = False
    #: What a name has to be, by the column of its id, where the filter lets nothing else through.
    names: Mapping[str, uuid.UUID] = field(default_factory=dict)


def read_filter(text: str, schema: Schema, me: str) -> Node | None:
    """Returns the tree of a filter, with the name `me` where it says `users/me`. Raises FilterInvalid."""
    tree = parse(text)
    return _named(tree, schema, me) if tree is not None and me else tree


def _named(node: Node, schema: Schema, me: str) -> Node:
    match node:
        case And(parts):
            return And(tuple(_named(part, schema, me) for part in parts))
        case Or(parts):
            return Or(tuple(_named(part, schema, me) for part in parts))
        case Not(part):
            return Not(_named(part, schema, me))
        case Restriction(path, comparator, value) if isinstance(schema.fields.get(node.field), Name):
            return Restriction(path, comparator, Value((me,), value.position)) if value.text == ME else node
    return node


def compile_filter(text: str, schema: Schema, me: str = "") -> Condition:
    """Returns the condition of a filter, asked by `me`. Raises FilterInvalid with the position of what is wrong."""
    tree = read_filter(text, schema, me)
    if tree is None:
        return Condition()
    compiler = _Compiler(schema)
    states, rest = None, []
    for part in tree.parts if isinstance(tree, And) else (tree,):
        found = compiler.states(part)
        if found is None:
            rest.append(part)
        else:
            states = found if states is None else states & found
    return Condition(
        sql=" AND ".join(compiler.sql(part) for part in rest),
        parameters=compiler.parameters,
        states=states,
        selective=any(compiler.selective(part) for part in rest),
        names=dict(filter(None, map(compiler.name, rest))),
    )


class _Compiler:
    """One compilation: collects the parameters."""

    def __init__(self, schema: Schema) -> None:
        self._schema = schema
        self.parameters: dict[str, Any] = {}

    def sql(self, node: Node, *, exact: bool = False) -> str:
        """Returns a condition; below a NOT it is never NULL."""
        match node:
            case And(parts):
                return "(" + " AND ".join(self.sql(part, exact=exact) for part in parts) + ")"
            case Or(parts):
                return "(" + " OR ".join(self.sql(part, exact=exact) for part in parts) + ")"
            case Not(part):
                return f"NOT ({self.sql(part, exact=True)})"
            case Literal(value):
                return f"{self._schema.search} @@ {words(value, self._bind)}"
            case Restriction():
                return self._field(node).condition(node, self._bind, exact=exact)

    def states(self, node: Node) -> frozenset[str] | None:
        """Returns the states that a node lets through, or None where it asks for more than the state."""
        enum = self._schema.fields[self._schema.state]
        assert isinstance(enum, Enum)  # noqa: S101
        match node:
            case Restriction(comparator="=" | "!=" | ":") if self._field(node) is enum and len(node.path) == 1:
                found = frozenset((enum.value(node.value),))
                return frozenset(enum.values.values()) - found if node.comparator == "!=" else found
            case Not(part):
                inner = self.states(part)
                return None if inner is None else frozenset(enum.values.values()) - inner
            case And(parts) | Or(parts):
                return self._combined(node, [self.states(part) for part in parts])
        return None

    def _combined(self, node: And | Or, sets: list[frozenset[str] | None]) -> frozenset[str] | None:
        known = [each for each in sets if each is not None]
        if len(known) < len(sets):
            return None
        return frozenset.union(*known) if isinstance(node, Or) else frozenset.intersection(*known)

    def selective(self, node: Node) -> bool:
        """Whether an index finds what a node lets through."""
        match node:
            case And(parts):
                return any(map(self.selective, parts))
            case Or(parts):
                return all(map(self.selective, parts))
            case Literal():
                return True
            case Restriction(path=(_,), value=value) if value.has_wildcard:
                return False
            case Restriction(comparator="=" | ":"):
                return self._field(node).selective or (node.comparator == ":" and not node.value.has_wildcard)
        return False

    def name(self, node: Node) -> tuple[str, uuid.UUID] | None:
        """Returns the column and the id, where a node asks for one resource by its name."""
        match node:
            case Restriction(comparator="=") if isinstance(found := self._field(node), Name):
                return found.column, found.parsed(node.value)[1]
        return None

    def _field(self, term: Restriction) -> Field:
        name = term.path[0]
        try:
            return self._schema.fields[name.text]
        except KeyError:
            fields = ", ".join(self._schema.fields)
            raise FilterInvalid(f"`{name.text[:40]}` is no field; there are {fields}", name.position) from None

    def _bind(self, value: Any) -> str:
        key = f"f{len(self.parameters)}"
        self.parameters[key] = value
        return f"%({key})s"
