"""The grammar of AIP-160, and the tree that a filter becomes.

`OR` binds tighter than `AND`, and terms side by side are joined by AND: `a b OR c` means `a AND (b OR c)`. A comparison
with several values, `state = (TODO OR DONE)`, is one with each of them. Functions are part of the grammar and refused
by name: there are none. https://google.aip.dev/assets/misc/ebnf-filtering.txt
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, NoReturn

from lark import Lark, Token, Transformer, v_args
from lark.exceptions import UnexpectedInput, UnexpectedToken

from shared.errors import FilterInvalid

MAX_LENGTH = 2000
MAX_DEPTH = 16
MAX_TERMS = 64

# A call is told from a sequence by the missing space: `f(x)` is a call, `f (x)` are two terms.
_GRAMMAR = r"""
start: expression?
expression: sequence (_AND sequence)*
sequence: factor+
factor: term (_OR term)*
?term: simple
     | (_NOT | _MINUS) simple -> negation
?simple: restriction
       | "(" expression ")"
       | CALL -> call
restriction: member (COMPARATOR (member | composite))?
composite: "(" expression ")"
member: value (_DOT value)*
value: TIMESTAMP | TEXT | STRING

COMPARATOR: "<=" | "<" | ">=" | ">" | "!=" | "=" | ":"
_DOT: "."
_MINUS: "-"
_AND.4: /AND(?![^\s.,:=<>!()"'])/
_OR.4: /OR(?![^\s.,:=<>!()"'])/
_NOT.4: /NOT(?![^\s.,:=<>!()"'])/
TIMESTAMP.3: /\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)/
CALL.2: /[^\s.,:=<>!()"'\\-][^\s,:=<>!()"'\\]*\(/
TEXT: /[^\s.,:=<>!()"'\\-][^\s.,:=<>!()"'\\]*/
STRING: /"(?:[^"\\]|\\[\s\S])*"|'(?:[^'\\]|\\[\s\S])*'/
%ignore /\s+/
"""

_ESCAPE = re.compile(r"\\([\s\S])|(\*)")


@dataclass(frozen=True, slots=True)
class Value:
    """What stands in a filter, unquoted, cut where an unescaped `*` stands for any text: `re*` is `("re", "")`."""

    pieces: tuple[str, ...]
    #: The character that it begins at, from 1.
    position: int = field(compare=False)
    quoted: bool = field(default=False, compare=False)

    @property
    def text(self) -> str:
        """The value as somebody wrote it, wildcards included."""
        return "*".join(self.pieces)

    @property
    def has_wildcard(self) -> bool:
        """Whether it stands for more than one text."""
        return len(self.pieces) > 1


@dataclass(frozen=True, slots=True)
class Literal:
    """A value alone, to be looked for in the texts of a resource."""

    value: Value


@dataclass(frozen=True, slots=True)
class Restriction:
    """`path comparator value`."""

    path: tuple[Value, ...]
    comparator: str
    value: Value

    @property
    def field(self) -> str:
        """The first name of the path."""
        return self.path[0].text

    @property
    def position(self) -> int:
        """The character that the path begins at."""
        return self.path[0].position


@dataclass(frozen=True, slots=True)
class Not:
    """True where its part is not."""

    part: Node


@dataclass(frozen=True, slots=True)
class And:
    """True where all parts are. No part is an And itself."""

    parts: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Or:
    """True where any part is. No part is an Or itself."""

    parts: tuple[Node, ...]


Node = Literal | Restriction | Not | And | Or


def parse(text: str) -> Node | None:
    """Returns the tree of a filter, or None for an empty one. Raises FilterInvalid with the position of what is wrong.

    At most 2,000 characters, 64 terms and 16 levels of parentheses.
    """
    if len(text) > MAX_LENGTH:
        raise FilterInvalid(f"is longer than {MAX_LENGTH:,} characters", MAX_LENGTH + 1)
    _check_depth(text)
    try:
        tree: Any = _PARSER.parse(text)
    except UnexpectedInput as error:
        _refuse(text, error)
    terms = sum(1 for _ in leaves(tree)) if tree else 0
    if terms > MAX_TERMS:
        raise FilterInvalid(f"has {terms} terms; {MAX_TERMS} are the most", 1)
    return tree  # type: ignore[no-any-return]


def leaves(node: Node) -> Iterator[Literal | Restriction]:
    """Yields the terms of a tree from left to right."""
    match node:
        case And(parts) | Or(parts):
            for part in parts:
                yield from leaves(part)
        case Not(part):
            yield from leaves(part)
        case _:
            yield node


def _check_depth(text: str) -> None:
    """Bounds the tree before there is one: nothing nests without a parenthesis. Those in quotes are no nesting."""
    depth = 0
    for found in _PARENTHESES.finditer(text):
        depth += {"(": 1, ")": -1}.get(found.group()[0], 0)
        if depth > MAX_DEPTH:
            raise FilterInvalid(f"nests deeper than {MAX_DEPTH} levels", found.start() + 1)


_PARENTHESES = re.compile(r"""[()]|"(?:[^"\\]|\\[\s\S])*"|'(?:[^'\\]|\\[\s\S])*'""")


def _refuse(text: str, error: UnexpectedInput) -> NoReturn:
    position = error.pos_in_stream or 0
    if isinstance(error, UnexpectedToken):
        if error.token.type == "$END":
            raise FilterInvalid("ends too early", len(text) + 1)
        raise FilterInvalid(f"`{error.token[:40]}` was not expected here", position + 1)
    if text[position] in "\"'":
        raise FilterInvalid("the quote that begins here has no end", position + 1)
    raise FilterInvalid(f"`{text[position]}` was not expected here; such a value stands in quotes", position + 1)


def _value(token: Token) -> Value:
    position = (token.start_pos or 0) + 1
    if token.type != "STRING":
        return Value(tuple(token.split("*")), position)
    pieces, end, body = [""], 0, token[1:-1]
    for found in _ESCAPE.finditer(body):
        pieces[-1] += body[end : found.start()] + (found.group(1) or "")
        if found.group(2):
            pieces.append("")
        end = found.end()
    pieces[-1] += body[end:]
    return Value(tuple(pieces), position, quoted=True)


def _joined(values: tuple[Value, ...]) -> Value:
    """Returns `a.b` as one value: what a dot means is only known for fields."""
    pieces = [*values[0].pieces]
    for value in values[1:]:
        pieces[-1] += "." + value.pieces[0]
        pieces += value.pieces[1:]
    return Value(tuple(pieces), values[0].position, values[0].quoted)


def _distributed(path: tuple[Value, ...], comparator: Token, values: Node) -> Node:
    """Returns the comparisons that `path = (a OR b)` stands for."""
    match values:
        case Literal(value):
            return Restriction(path, str(comparator), value)
        case Not(part):
            return Not(_distributed(path, comparator, part))
        case And(parts):
            return And(tuple(_distributed(path, comparator, part) for part in parts))
        case Or(parts):
            return Or(tuple(_distributed(path, comparator, part) for part in parts))
        case Restriction():
            raise FilterInvalid("a comparison cannot be the value of another", values.position)


def _check_word(value: Value) -> None:
    """Refuses what is an operator in other languages: it would be looked for, and nothing found."""
    if not value.quoted and value.text.lower() in _OPERATORS:
        raise FilterInvalid(
            f"`{value.text}` is no operator, {value.text.upper()} is; the word to look for stands in quotes",
            value.position,
        )


_OPERATORS = frozenset({"and", "or", "not"})


def _flat(kind: type[And | Or], parts: tuple[Node, ...]) -> tuple[Node, ...]:
    return tuple(chain.from_iterable(part.parts if isinstance(part, kind) else (part,) for part in parts))


@v_args(inline=True)
class _Builder(Transformer[Token, Any]):
    """Makes the tree while the parser goes along."""

    def start(self, node: Node | None = None) -> Node | None:
        return node

    def expression(self, *parts: Node) -> Node:
        return parts[0] if len(parts) == 1 else And(_flat(And, parts))

    sequence = expression

    def factor(self, *parts: Node) -> Node:
        return parts[0] if len(parts) == 1 else Or(_flat(Or, parts))

    def negation(self, part: Node) -> Node:
        return Not(part)

    def call(self, token: Token) -> NoReturn:
        raise FilterInvalid(f"there is no function `{token[:-1][:40]}`", (token.start_pos or 0) + 1)

    def restriction(self, left: tuple[Value, ...], comparator: Token | None = None, right: Any = None) -> Node:
        if comparator is None:
            value = _joined(left)
            _check_word(value)
            return Literal(value)
        if isinstance(right, tuple):
            return Restriction(left, str(comparator), _joined(right))
        if comparator not in ("=", ":"):
            cure = "; NOT goes before what is to be none of several" if comparator == "!=" else ""
            raise FilterInvalid(f"{comparator} takes one value{cure}", (comparator.start_pos or 0) + 1)
        return _distributed(left, comparator, right)

    def composite(self, node: Node) -> Node:
        return node

    def member(self, *values: Value) -> tuple[Value, ...]:
        return values

    def value(self, token: Token) -> Value:
        return _value(token)


_PARSER = Lark(_GRAMMAR, parser="lalr", lexer="basic", transformer=_Builder())
