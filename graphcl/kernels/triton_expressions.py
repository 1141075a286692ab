"""Element-wise functions of a similarity as Triton source, with their derivatives.

A function such as ``lambda s, v: -(s - v).square()`` is traced by ``torch.fx``; each of its steps
becomes a line for the value and one for each derivative (forward mode). Only steps of the tables
below are translated, and every new source is compared with its function, by torch and in float64,
before it is used: what cannot be translated faithfully is refused.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor
from torch.fx import Node, Tracer


class Untranslatable(ValueError):
    """The function does more than element-wise arithmetic; the message names the step."""


@dataclass(frozen=True)
class Expression:
    """Triton source of ``evaluate(s, v, number_ptr)``: the value, its derivatives by s and by v.

    Attributes:
        source: the same for functions that differ in their numbers only, compiled once for all.
        numbers: the function's constants, which the source reads from ``number_ptr``.
    """

    source: str
    numbers: tuple[float, ...]


# Value from x, derivative from x and the value y.
_UNARY = {
    "neg": ("-{x}", "-1.0"),
    "exp": ("tl.exp({x})", "{y}"),
    "log": ("tl.log({x})", "1.0 / {x}"),
    "sin": ("tl.sin({x})", "tl.cos({x})"),
    "cos": ("tl.cos({x})", "-tl.sin({x})"),
    "sqrt": ("tl.sqrt({x})", "0.5 / {y}"),
    "square": ("{x} * {x}", "2.0 * {x}"),
    "reciprocal": ("1.0 / {x}", "-{y} * {y}"),
    "abs": ("tl.abs({x})", "tl.where({x} > 0, 1.0, tl.where({x} < 0, -1.0, 0.0))"),
    "sigmoid": ("1.0 / (1.0 + tl.exp(-({x})))", "{y} * (1.0 - {y})"),
    "tanh": ("2.0 / (1.0 + tl.exp(-2.0 * ({x}))) - 1.0", "1.0 - {y} * {y}"),
    "relu": ("tl.maximum({x}, 0.0)", "tl.where({x} > 0, 1.0, 0.0)"),
}
# Value, then derivative by each operand.
_BINARY = {
    "add": ("{a} + {b}", "1.0", "1.0"),
    "sub": ("{a} - {b}", "1.0", "-1.0"),
    "mul": ("{a} * {b}", "{b}", "{a}"),
    "truediv": ("{a} / {b}", "1.0 / {b}", "-{a} / ({b} * {b})"),
    # torch shares the slope between equal operands.
    "maximum": (
        "tl.maximum({a}, {b})",
        *(
            f"tl.where({o}, 1.0, tl.where({{a}} == {{b}}, 0.5, 0.0))"
            for o in ("{a} > {b}", "{a} < {b}")
        ),
    ),
    "minimum": (
        "tl.minimum({a}, {b})",
        *(
            f"tl.where({o}, 1.0, tl.where({{a}} == {{b}}, 0.5, 0.0))"
            for o in ("{a} < {b}", "{a} > {b}")
        ),
    ),
}
_TEST = {
    "gt": ">",
    "lt": "<",
    "ge": ">=",
    "le": "<=",
    "eq": "==",
    "ne": "!=",
    "and_": "&",
    "or_": "|",
    "logical_and": "&",
    "logical_or": "|",
}
_SAME = {
    "div": "truediv",
    "true_divide": "truediv",
    "multiply": "mul",
    "subtract": "sub",
    "negative": "neg",
    "absolute": "abs",
    "greater": "gt",
    "less": "lt",
    "clip": "clamp",
    "bitwise_and": "and_",
    "bitwise_or": "or_",
}


@dataclass(frozen=True)
class _Dual:
    """Names (or literals) of a value and of its derivatives; None where it is constant."""

    value: str
    by: tuple[str | None, str | None] = (None, None)


def translate(function: Callable[..., Tensor], arity: int) -> Expression:
    """Source of ``evaluate(s, v, number_ptr) -> (value, d value / d s, d value / d v)``.

    Args:
        function: element-wise map of one or two tensors.
        arity: 1 (similarity) or 2 (similarity and the query's value).

    Raises:
        Untranslatable: a step outside the table of element-wise operations, a tensor that is no
            constant number, or a translation that differs from the function.

    Example:
        >>> found = translate(lambda s: 2.0 * s, 1)
        >>> found.source.splitlines()[3].strip(), found.numbers
        ('x0 = n0 * s', (2.0,))
    """
    tracer = Tracer()
    try:
        graph = tracer.trace(_fixed_arity(function, arity))
    except Exception as error:  # tracing runs the user's code, which may raise anything
        raise Untranslatable(f"it cannot be traced ({_first_line(error)})") from error
    writer = _Writer()
    inputs = iter((_Dual("s", ("1.0", None)), _Dual("v", (None, "1.0"))))
    known: dict[Node, _Dual] = {}
    result = None
    for node in graph.nodes:
        if node.op == "placeholder":
            known[node] = next(inputs)
        elif node.op == "get_attr":
            known[node] = writer.number(getattr(tracer.root, str(node.target)))
        elif node.op == "output":
            result = writer.read(node.args[0], known)
        else:
            known[node] = writer.step(node, known)
    if result is None:
        raise Untranslatable("it returns nothing")
    found = Expression(writer.finish(result), tuple(writer.numbers))
    compared = found.source, getattr(function, "__code__", None)
    if compared not in _COMPARED:
        _compare(found, function, arity)
        _COMPARED.add(compared)
    return found


def _fixed_arity(function: Callable[..., Tensor], arity: int) -> Callable[..., Tensor]:
    if arity == 1:
        return lambda s: function(s)
    return lambda s, v: function(s, v)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:120]


# What the source says in Triton, said in torch.
_IN_TORCH = SimpleNamespace(
    **{name: getattr(torch, name) for name in ("exp", "log", "sin", "cos", "sqrt", "abs")},
    maximum=lambda a, b: torch.maximum(*torch.broadcast_tensors(*map(torch.as_tensor, (a, b)))),
    minimum=lambda a, b: torch.minimum(*torch.broadcast_tensors(*map(torch.as_tensor, (a, b)))),
    where=torch.where,
    zeros_like=torch.zeros_like,
    load=lambda place: place[0],
)
_COMPARED: set[tuple[str, Any]] = set()


class _Numbers:
    """Stands in for a pointer: ``(pointer + 3)[0]`` is the fourth number."""

    def __init__(self, numbers: Tensor) -> None:
        self.numbers = numbers

    def __add__(self, step: int) -> Tensor:
        return self.numbers[step:]


def _compare(found: Expression, function: Callable[..., Tensor], arity: int) -> None:
    """Check value and derivatives on a sample of similarities, small and large."""
    names: dict[str, Any] = {"tl": _IN_TORCH, "triton": SimpleNamespace(jit=lambda f: f)}
    exec(found.source, names)
    s = torch.linspace(-3.1, 3.3, 97, dtype=torch.float64).requires_grad_()
    v = s.detach().roll(41).add(0.0123).requires_grad_()
    inputs = (s, v)[:arity]
    numbers = _Numbers(torch.tensor(found.numbers, dtype=torch.float64))
    with torch.enable_grad():
        try:
            value = function(*(x.clone() for x in inputs)).double().expand_as(s)
        except Exception as error:
            raise Untranslatable(f"it cannot be evaluated ({_first_line(error)})") from error
        wanted = [value.detach()]
        if value.requires_grad:
            wanted += torch.autograd.grad(value.sum(), inputs, materialize_grads=True)
        else:
            wanted += [torch.zeros_like(s)] * arity
    mine = [x.double() for x in names["evaluate"](s.detach(), v.detach(), numbers)]
    # Slopes may be infinite or NaN where the weight is; such pairs take no part.
    part = value.detach().isfinite()
    for name, a, b in zip(("value", "slope", "slope by query_value"), mine, wanted, strict=False):
        chosen = slice(None) if name == "value" else part
        if not torch.allclose(a[chosen], b[chosen], rtol=1e-9, atol=1e-12, equal_nan=True):
            raise Untranslatable(f"its {name} would not be kept")


_HEAD = """@triton.jit
def evaluate(s, v, number_ptr):
    # s (R, C), v (R, 1) or (1, C)"""


class _Writer:
    """Writes the lines of one function."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.numbers: list[float] = []

    def number(self, value: Any) -> _Dual:
        """A constant, handed to the kernel among its numbers."""
        if isinstance(value, Tensor):
            if value.requires_grad:
                raise Untranslatable("it uses a tensor that requires a gradient")
            if value.numel() != 1:
                raise Untranslatable(f"it uses a tensor of shape {tuple(value.shape)}")
            value = value.item()
        if not isinstance(value, (int, float)):
            raise Untranslatable(f"it uses {value!r}")
        self.numbers.append(float(value))
        return _Dual(f"n{len(self.numbers) - 1}")

    def name(self, text: str) -> str:
        self.lines.append(f"x{len(self.lines)} = {text}")
        return f"x{len(self.lines) - 1}"

    def read(self, item: Any, known: dict[Node, _Dual]) -> _Dual:
        return known[item] if isinstance(item, Node) else self.number(item)

    def step(self, node: Node, known: dict[Node, _Dual]) -> _Dual:
        target = node.target
        name = target if isinstance(target, str) else getattr(target, "__name__", str(target))
        if name.endswith("_") and node.op == "call_method":
            raise Untranslatable(f"{name} changes a tensor in place")
        name = _SAME.get(name, name)
        options = {k: v for k, v in node.kwargs.items() if v is not None}
        if name in ("clamp", "clamp_min", "clamp_max"):
            return self.clamp(name, node, known, options)
        if options:
            raise Untranslatable(f"{name} with {', '.join(options)}")
        if name == "pow":
            return self.power(self.read(node.args[0], known), node.args[1])
        given = [self.read(item, known) for item in node.args]
        if name == "detach":
            return _Dual(given[0].value)
        if name == "float":
            return _Dual(self.name(f"{given[0].value} * 1.0"), given[0].by)
        if name in _TEST:
            return _Dual(self.name(f"{given[0].value} {_TEST[name]} {given[1].value}"))
        if name in ("invert", "logical_not"):
            return _Dual(self.name(f"{given[0].value} == 0"))
        if name in ("where", "masked_fill"):
            return self.where(*(given if name == "where" else (given[1], given[2], given[0])))
        if name in _UNARY and len(given) == 1:
            return self.unary(_UNARY[name], given[0])
        if name == "rsub":
            name, given = "sub", given[::-1]
        if name in _BINARY and len(given) == 2:
            return self.binary(_BINARY[name], *given)
        raise Untranslatable(f"{name} is not in the table of element-wise operations")

    def chain(self, *terms: tuple[str | None, str]) -> str | None:
        """Sum of derivative times slope over the operands that vary."""
        moving = [
            slope if inner == "1.0" else f"({slope}) * {inner}"
            for inner, slope in terms
            if inner is not None
        ]
        return self.name(" + ".join(moving)) if moving else None

    def unary(self, rule: tuple[str, str], x: _Dual) -> _Dual:
        y = self.name(rule[0].format(x=x.value))
        slope = rule[1].format(x=x.value, y=y)
        return _Dual(y, (self.chain((x.by[0], slope)), self.chain((x.by[1], slope))))

    def binary(self, rule: tuple[str, ...], a: _Dual, b: _Dual) -> _Dual:
        y, left, right = (part.format(a=a.value, b=b.value) for part in rule)
        y = self.name(y)
        first, second = (self.chain((a.by[i], left), (b.by[i], right)) for i in (0, 1))
        return _Dual(y, (first, second))

    def where(self, test: _Dual, a: _Dual, b: _Dual) -> _Dual:
        def choose(x: str | None, y: str | None) -> str | None:
            if x is None and y is None:
                return None
            return self.name(f"tl.where({test.value}, {x or '0.0'}, {y or '0.0'})")

        value = choose(a.value, b.value)
        assert value is not None
        return _Dual(value, (choose(a.by[0], b.by[0]), choose(a.by[1], b.by[1])))

    def clamp(
        self, name: str, node: Node, known: dict[Node, _Dual], options: dict[str, Any]
    ) -> _Dual:
        x, rest = self.read(node.args[0], known), list(node.args[1:])
        if name == "clamp_max":
            rest.insert(0, None)
        bounds = dict(zip(("min", "max"), rest, strict=False)) | options
        for side, sign in (("min", "<"), ("max", ">")):
            if bounds.get(side) is not None:
                limit = _Dual(self.read(bounds[side], known).value)
                test = _Dual(self.name(f"{x.value} {sign} {limit.value}"))
                x = self.where(test, limit, x)
        return x

    def power(self, x: _Dual, exponent: Any) -> _Dual:
        if exponent == 2:
            return self.unary(_UNARY["square"], x)
        if exponent == 0.5:
            return self.unary(_UNARY["sqrt"], x)
        if isinstance(exponent, int) and 1 <= exponent <= 8:
            total = x
            for _ in range(exponent - 1):
                total = self.binary(_BINARY["mul"], total, x)
            return total
        raise Untranslatable(f"pow with exponent {exponent!r}")

    def finish(self, result: _Dual) -> str:
        returned = ", ".join(
            f"tl.zeros_like(s) + {part or '0.0'}" for part in (result.value, *result.by)
        )
        numbers = [f"n{i} = tl.load(number_ptr + {i})" for i in range(len(self.numbers))]
        lines = [_HEAD, *numbers, *self.lines, f"return {returned}"]
        return "\n    ".join(lines) + "\n"
