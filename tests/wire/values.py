"""What the tests of `wire` are fed: all values that travel, and messages made of them."""

from typing import Any

from hypothesis import strategies as st

from fieldpost.wire.declaration import Declaration
from fieldpost.wire.kinds import (
    ANYTHING,
    BOOLEAN,
    INTEGER,
    NOTHING,
    NULL,
    NUMBER,
    OCTETS,
    TEXT,
    Either,
    Kind,
    ListOf,
    MapOf,
    Record,
    Tuple,
)

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-(2**65), 2**65)
    | st.integers(-(2**8_000), 2**8_000)
    | st.floats()
    | st.binary(max_size=40)
    | st.text(max_size=40)
)
keys = st.text(max_size=10) | st.binary(max_size=30) | st.integers(-(2**64), 2**64 - 1)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(keys, inner, max_size=4),
    max_leaves=12,
)
types = st.text("abcxyzABCXYZ019-_. ", min_size=1, max_size=64)
messages = st.builds(
    lambda fields, kind: {**fields, "type": kind},
    st.dictionaries(st.text(max_size=10), values, max_size=3),
    types,
)


def same(one: Any, other: Any) -> bool:
    """Whether two values are alike in every type, in the order of their keys, and where they are nan."""
    return repr(one) == repr(other)


_WHOLE = st.integers(-(2**63), 2**63 - 1)
_SIMPLE: dict[Kind, st.SearchStrategy[Any]] = {
    TEXT: st.text(max_size=10),
    OCTETS: st.binary(max_size=10),
    INTEGER: _WHOLE,
    NUMBER: _WHOLE | st.floats(allow_nan=False),
    BOOLEAN: st.booleans(),
    NULL: st.none(),
    ANYTHING: st.integers(0, 9) | st.text(max_size=5),
}


def of_kind(kind: Kind) -> st.SearchStrategy[Any]:
    """Values that are of a kind."""
    if isinstance(kind, ListOf):
        if kind.item is NOTHING:
            return st.just([])
        return st.lists(of_kind(kind.item), max_size=3)
    if isinstance(kind, MapOf):
        keys = st.text("ab0", max_size=3) if kind.by is OCTETS else _SIMPLE[kind.by]
        return st.dictionaries(keys, of_kind(kind.item), max_size=3)
    if isinstance(kind, Tuple):
        return st.tuples(*map(of_kind, kind.kinds)).map(list)
    if isinstance(kind, Record):
        needed = {name: of_kind(inner) for name, inner, must in kind.keys if must}
        return st.fixed_dictionaries(
            needed, optional={name: of_kind(inner) for name, inner, must in kind.keys if not must}
        )
    if isinstance(kind, Either):
        return st.one_of(*map(of_kind, kind.options))
    return _SIMPLE[kind]


def of_type(declaration: Declaration) -> st.SearchStrategy[dict[str, Any]]:
    """Messages that are as declared."""
    fields = {
        item.name: of_kind(item.kind) | st.none() if item.nullable else of_kind(item.kind)
        for item in declaration.fields
    }
    needed = {item.name: fields[item.name] for item in declaration.fields if item.required}
    others = {name: one for name, one in fields.items() if name not in needed}
    return st.fixed_dictionaries({"type": st.just(declaration.type), **needed}, optional=others)
