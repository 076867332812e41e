"""The filter language that Google's list methods share (AIP-160; Logging's query language is its larger dialect).

This module reads the text; each service gives the tree its meaning and refuses what it does not know. NOT binds tighter
than OR, and OR tighter than AND, which may be left out. ``field = (a OR b)`` is read as ``field = a OR field = b``.
Nothing is ever skipped: what cannot be read is an InvalidArgument that names the place.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from google.api_core import exceptions

from localcloud.filter_tokens import Token, tokens, unescaped

MOST_CHARACTERS = 20_000
Item = TypeVar("Item")


@dataclass(frozen=True)
class Value:
    """A literal. ``quoted`` tells ``"*"`` from ``*`` and ``"NULL_VALUE"`` from ``NULL_VALUE``."""

    text: str
    quoted: bool = False


@dataclass(frozen=True)
class Comparison:
    """``path operator value``; the path is in its segments."""

    path: tuple[str, ...]
    operator: str
    value: Value


@dataclass(frozen=True)
class Search:
    """A literal alone: it may be found anywhere."""

    value: Value


@dataclass(frozen=True)
class Call:
    """``name(arguments)``."""

    name: str
    arguments: tuple[Value, ...]


@dataclass(frozen=True)
class Not:
    part: Node


@dataclass(frozen=True)
class And:
    parts: tuple[Node, ...]


@dataclass(frozen=True)
class Or:
    parts: tuple[Node, ...]


Node = Comparison | Search | Call | Not | And | Or


def parse(text: str) -> Node | None:
    """Read a filter; None when it is empty. Raises InvalidArgument."""
    if len(text) > MOST_CHARACTERS:
        raise exceptions.InvalidArgument(f"The filter is longer than {MOST_CHARACTERS} characters.")
    parser = _Parser(tokens(text))
    try:
        return parser.whole() if parser.next is not None else None
    except RecursionError as error:
        raise exceptions.InvalidArgument("The filter is nested too deeply.") from error


def conjuncts(node: Node | None) -> list[Node]:
    """The parts of a filter that all have to hold."""
    if node is None:
        return []
    if isinstance(node, And):
        return [inner for part in node.parts for inner in conjuncts(part)]
    return [node]


def predicate(node: Node, leaf: Callable[[Node], Callable[[Item], bool]]) -> Callable[[Item], bool]:
    """A filter as a predicate; ``leaf`` turns each condition, which is no And, Or or Not, into one or refuses it."""
    match node:
        case And(parts):
            every = [predicate(part, leaf) for part in parts]
            return lambda item: all(each(item) for each in every)
        case Or(parts):
            some = [predicate(part, leaf) for part in parts]
            return lambda item: any(each(item) for each in some)
        case Not(part):
            inner = predicate(part, leaf)
            return lambda item: not inner(item)
    return leaf(node)


def name_of(node: Node) -> str:
    """What a refusal calls a part of a filter."""
    match node:
        case Search(value):
            return f"text without a field: '{value.text}'"
        case Call(name):
            return f"the function {name}()"
        case Comparison(path, operator):
            return f"'{'.'.join(path)} {operator} …'"
    return type(node).__name__.upper()


class _Parser:
    def __init__(self, tokens: list[Token]) -> None:
        self._tokens, self._at = tokens, 0

    @property
    def next(self) -> Token | None:
        return self._tokens[self._at] if self._at < len(self._tokens) else None

    def whole(self) -> Node:
        node = self._all(self._term)
        if self.next is not None:
            raise self._error()
        return node

    def _all(self, term: Callable[[], Node]) -> Node:
        parts = [self._any(term)]
        while self.next is not None and not self._is(")"):
            self._take("AND")
            parts.append(self._any(term))
        return parts[0] if len(parts) == 1 else And(tuple(parts))

    def _any(self, term: Callable[[], Node]) -> Node:
        parts = [term()]
        while self._take("OR"):
            parts.append(term())
        return parts[0] if len(parts) == 1 else Or(tuple(parts))

    def _term(self) -> Node:
        if self._take("NOT") or self._take("-"):
            return Not(self._term())
        if self._take("("):
            return self._closed(self._all(self._term))
        token = self._pop()
        if token.kind == "word" and token.text.startswith("-"):
            self._at -= 1
            self._tokens[self._at] = Token("word", token.text[1:], token.start + 1, token.end)
            return Not(self._term())
        if token.kind == "string" and not self._names_a_field(token):
            return Search(_value(token))
        if token.kind not in ("word", "string") or token.text in ("AND", "OR"):
            self._at -= 1
            raise self._error()
        return self._restriction(token)

    def _restriction(self, first: Token) -> Node:
        if self._take("("):
            return self._call(first.text)
        path = self._path(first)
        token = self.next
        if token is None or token.kind != "operator":
            return Search(Value(first.text))
        self._at += 1
        return self._comparison(path, token.text)

    def _comparison(self, path: tuple[str, ...], operator: str) -> Node:
        def term() -> Node:
            if self._take("NOT"):
                return Not(term())
            if self._take("("):
                return self._closed(self._all(term))
            return Comparison(path, operator, _value(self._literal()))

        return term()

    def _call(self, name: str) -> Node:
        arguments = []
        while not self._take(")"):
            arguments.append(_value(self._literal()))
            if not self._is(")") and not self._take(","):
                raise self._error()
        return Call(name, tuple(arguments))

    def _path(self, first: Token) -> tuple[str, ...]:
        """A field: words and quoted segments that touch, as in ``labels."k8s-pod/app".name``."""
        segments, last = _segments(first), first
        while (token := self.next) is not None and token.start == last.end and token.kind in ("word", "string"):
            if token.kind == "word" and not token.text.startswith("."):
                raise self._error()
            segments += _segments(token)
            last = self._pop()
        return tuple(segments)

    def _names_a_field(self, token: Token) -> bool:
        following = self.next
        return following is not None and (
            following.kind == "operator"
            or (following.kind == "word" and following.start == token.end and following.text.startswith("."))
        )

    def _literal(self) -> Token:
        token = self._pop()
        if token.kind not in ("word", "string"):
            self._at -= 1
            raise self._error()
        following = self.next
        if token.kind == "word" and following is not None and following.text == "(" and following.start == token.end:
            raise exceptions.InvalidArgument(f"Unparseable filter: the function {token.text}() is not known here.")
        return token

    def _closed(self, node: Node) -> Node:
        if not self._take(")"):
            raise self._error()
        return node

    def _pop(self) -> Token:
        token = self.next
        if token is None:
            raise self._error()
        self._at += 1
        return token

    def _is(self, text: str) -> bool:
        token = self.next
        return token is not None and token.text == text and token.kind != "string"

    def _take(self, text: str) -> bool:
        found = self._is(text)
        self._at += found
        return found

    def _error(self) -> exceptions.InvalidArgument:
        token = self.next
        where = f"at position {token.start}: {token.text!r}" if token else "at the end"
        return exceptions.InvalidArgument(f"Unparseable filter: syntax error {where}.")


def _segments(token: Token) -> list[str]:
    if token.kind == "string":
        return [unescaped(token.text[1:-1])]
    return [segment for segment in token.text.split(".") if segment]


def _value(token: Token) -> Value:
    if token.kind == "string":
        return Value(unescaped(token.text[1:-1]), quoted=True)
    return Value(token.text)
