"""Names that a user may have mistyped."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def choose(kind: str, name: str, choices: Iterable[str]) -> str:
    """``name`` if it is among the choices.

    Raises:
        ValueError: it is not; the message has what comes close, and the choices if they are few.

    Example:
        >>> choose("model", "distmult", ["complex", "distmult"])
        'distmult'
    """
    known = list(choices)
    if name in known:
        return name
    raise ValueError(f"unknown {kind} {name!r}{close_to(name, known)}{_listed(known)}")


def close_to(name: str, choices: Iterable[str]) -> str:
    """`` (did you mean ...?)`` with up to three choices like ``name``, or nothing.

    Example:
        >>> close_to("umsl", ["nations", "umls"])
        " (did you mean 'umls'?)"
    """
    by_plain = {one.lower(): one for one in choices}
    near = difflib.get_close_matches(name.lower(), by_plain, 3)
    if not near:
        return ""
    return f" (did you mean {' or '.join(repr(by_plain[one]) for one in near)}?)"


def _listed(known: list[str]) -> str:
    if len(known) > 60:
        return ""
    return f"; choose from {', '.join(known)}"
