"""The grammar of filters, on texts made at random and on those that its comments name."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import FilterInvalid
from shared.filters.syntax import And, Literal, Node, Not, Or, Restriction, Value, parse
from shared.filters.tasks import task_filter
from tests.support.filters import any_tree, text_of


@given(any_tree)
def test_a_tree_survives_being_written_down(tree: Node) -> None:
    assert parse(text_of(tree)) == tree


def nearly_a_filter() -> st.SearchStrategy[str]:
    parts = [
        "state",
        "=",
        "!=",
        "<",
        ":",
        "*",
        "AND",
        "OR",
        "NOT",
        "-",
        "(",
        ")",
        '"a"',
        "'",
        '"',
        "\\",
        ".",
        ",",
        "f(",
    ]
    parts += ["labels.env", "TODO", "due_time", "2026-01-01T00:00:00Z", " ", "é", "title"]
    return st.lists(st.sampled_from(parts), max_size=12).map("".join)


@given(st.one_of(st.text(), nearly_a_filter(), nearly_a_filter().map(lambda text: text.replace("=", " = "))))
def test_whatever_comes_is_a_filter_or_refused_with_its_place(text: str) -> None:
    refusals: list[FilterInvalid] = []
    for read in (parse, task_filter):
        try:
            read(text)
        except FilterInvalid as refusal:
            refusals.append(refusal)
    assert all(1 <= int(refusal.metadata["position"]) <= len(text) + 1 for refusal in refusals)


def word(text: str) -> Literal:
    return Literal(Value((text,), 1))


A, B, C, D = map(word, "abcd")


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("  ", None),
        ("a AND b OR c", And((A, Or((B, C))))),
        ("a b OR c AND d", And((A, Or((B, C)), D))),
        ("(a AND b) OR c", Or((And((A, B)), C))),
        ("NOT a OR b", Or((Not(A), B))),
        ("-a b", And((Not(A), B))),
        ("a-b", word("a-b")),
        ("a.b", word("a.b")),
        ("ANDROID ORDER", And((word("ANDROID"), word("ORDER")))),
        (r'"a\"\*b*"', Literal(Value(('a"*b', ""), 1))),
        ("'a\"b'", word('a"b')),
    ],
)
def test_what_the_grammar_says(text: str, tree: Node | None) -> None:
    assert parse(text) == tree


@pytest.mark.parametrize("text", ["f(a)", "f()", "a.f(b)", "a AND f(b)"])
def test_a_function_is_refused_by_name(text: str) -> None:
    with pytest.raises(FilterInvalid, match="there is no function"):
        parse(text)


def state(text: str) -> Restriction:
    return Restriction((Value(("state",), 1),), "=", Value((text,), 1))


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("state = (a)", state("a")),
        ("state=(a OR b)", Or((state("a"), state("b")))),
        ("state = (a b OR -c) d", And((state("a"), Or((state("b"), Not(state("c")))), D))),
        ("NOT state = (a OR b)", Not(Or((state("a"), state("b"))))),
    ],
)
def test_a_comparison_may_have_several_values(text: str, tree: Node) -> None:
    assert parse(text) == tree


@pytest.mark.parametrize(
    ("text", "position", "said"),
    [
        ("state != (a OR b)", 7, "!= takes one value"),
        ("priority < (a OR b)", 10, "< takes one value"),
        ("state = (a OR b = c)", 15, "a comparison cannot be the value of another"),
        ("a and b", 3, "`and` is no operator, AND is"),
        ("a Or b", 3, "`Or` is no operator, OR is"),
        ("not state = DONE", 1, "`not` is no operator, NOT is"),
        ("a && b", 3, "`&&` is not a word that can be looked for: it has no letter and no digit"),
        ("a || b", 3, "`||` is not a word"),
        ('title:"--"', 7, "`--` is not a word"),
    ],
)
def test_what_would_find_nothing_is_refused_with_its_place(text: str, position: int, said: str) -> None:
    with pytest.raises(FilterInvalid, match=re.escape(said)) as refusal:
        task_filter(text)
    assert refusal.value.metadata["position"] == str(position)


def test_operators_of_other_languages_are_words_in_quotes() -> None:
    assert parse('"and" x.or') == And((word("and"), word("x.or")))


def test_size_is_bounded() -> None:
    assert parse(" ".join(["a"] * 64)) is not None
    assert parse("(" * 16 + "a" + ")" * 16) == A
    for text in (" ".join(["a"] * 65), "s = (" + " OR ".join(["a"] * 65) + ")", "(" * 17 + "a" + ")" * 17, "a" * 2001):
        with pytest.raises(FilterInvalid):
            parse(text)
