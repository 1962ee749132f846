"""Conditions (docs/conditions.md): the parser is cel-python's, the rest follows the text."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import re2
from celpy.celparser import CELParseError, CELParser
from lark import Token, Tree

Value = Any
Type = Any  # "int", ("list", T), ("map", K, V), …


class CompileError(Exception):
    """The condition must be refused."""


class CelError(Exception):
    """The value of an expression is an error. `code` is the reason of the decision."""

    def __init__(self, text: str, code: str = "condition-error") -> None:
        super().__init__(text)
        self.code = code


class BudgetError(CelError):
    """The condition costs too much. No operand overrides it."""


@dataclass(frozen=True)
class ErrorValue:
    """A value whose use is an error, such as facts of an erased payload."""

    text: str
    code: str


class Uint(int):
    """An unsigned integer of CEL."""


@dataclass(frozen=True)
class TypeValue:
    """The value of `type(x)`."""

    name: str


class _Unknown:
    pass


UNKNOWN: Final = _Unknown()


class Lazy:
    """A variable that is computed and charged when it is first read."""

    def __init__(self, compute: Callable[[], tuple[Value, int]]) -> None:
        self._compute = compute
        self._value: tuple[Value, int] | None = None
        self.charged = False

    def get(self) -> tuple[Value, int]:
        if self._value is None:
            self._value = self._compute()
        return self._value


@dataclass
class Node:
    """A node of an expression: op is the operator, function, macro or sort of leaf."""

    op: str
    args: list[Node] = field(default_factory=list)
    value: Value = None
    name: str = ""
    member: bool = False


# --- parsing

MACROS: Final = {"all": 2, "exists": 2, "exists_one": 2, "map": 2, "filter": 2}
NAMESPACES: Final = {"sets", "strings"}
OPERATORS: Final = {
    "relation_lt": "<", "relation_le": "<=", "relation_gt": ">", "relation_ge": ">=",
    "relation_eq": "==", "relation_ne": "!=", "relation_in": "in",
    "addition_add": "+", "addition_sub": "-",
    "multiplication_mul": "*", "multiplication_div": "/", "multiplication_mod": "%",
}  # fmt: skip
ESCAPES: Final = {
    "a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v",
    "\\": "\\", "?": "?", '"': '"', "'": "'", "`": "`",
}  # fmt: skip


def parse(text: str) -> Node:
    """Parse a condition of at most 64 KiB."""
    if len(text.encode()) > 65536:
        raise CompileError("a condition has at most 64 KiB")
    try:
        return _node(CELParser().parse(text))
    except CELParseError as error:
        raise CompileError(str(error)) from error


def _node(tree: Tree[Token]) -> Node:
    kids: list[Any] = list(tree.children)
    match tree.data:
        case "expr" if len(kids) == 3:
            return Node("?:", [_node(kid) for kid in kids])
        case "conditionalor" if len(kids) == 2:
            return Node("||", [_node(kid) for kid in kids])
        case "conditionaland" if len(kids) == 2:
            return Node("&&", [_node(kid) for kid in kids])
        case "relation" | "addition" | "multiplication" if len(kids) == 2:
            return Node(OPERATORS[str(kids[0].data)], [_node(kids[0].children[0]), _node(kids[1])])
        case "unary" if len(kids) == 2:
            return Node("!" if kids[0].data == "unary_not" else "neg", [_node(kids[1])])
        case "member_dot":
            return Node("select", [_node(kids[0])], name=str(kids[1]))
        case "member_dot_arg":
            return _call(str(kids[1]), _node(kids[0]), _list(kids[2:]))
        case "member_index":
            return Node("[]", [_node(kids[0]), _node(kids[1])])
        case "ident_arg":
            return _call(str(kids[0]), None, _list(kids[1:]))
        case "ident":
            return Node("null") if kids[0] == "null" else Node("ident", name=str(kids[0]))
        case "list_lit":
            return Node("list", _list(kids))
        case "map_lit":
            return Node("map{}", [_node(kid) for kid in kids[0].children] if kids else [])
        case "literal":
            return _literal(kids[0])
        case _ if len(kids) == 1 and isinstance(kids[0], Tree):
            return _node(kids[0])
    raise CompileError(f"unsupported syntax: {tree.data}")


def _list(kids: list[Any]) -> list[Node]:
    return [_node(kid) for kid in kids[0].children] if kids else []


def _call(name: str, target: Node | None, args: list[Node]) -> Node:
    if target is None and name == "has":
        if len(args) != 1 or args[0].op != "select":
            raise CompileError("has() needs the member of a map")
        return Node("has", args[0].args, name=args[0].name)
    if target is not None and name in MACROS and args and args[0].op == "ident":
        if len(args) == 2:
            return Node(name, [target, args[1]], name=args[0].name)
        if name == "map" and len(args) == 3:
            chosen = Node("filter", [target, args[1]], name=args[0].name)
            return Node("map", [chosen, args[2]], name=args[0].name)
    if target is not None and target.op == "ident" and target.name in NAMESPACES:
        return Node("call", args, name=f"{target.name}.{name}")
    if target is not None:
        return Node("call", [target, *args], name=name, member=True)
    return Node("call", args, name=name)


def _literal(token: Token) -> Node:
    text = str(token)
    match token.type:
        case "BOOL_LIT":
            return Node("literal", value=text == "true")
        case "NULL_LIT":
            return Node("literal", value=None)
        case "INT_LIT":
            return Node("literal", value=_bounded(int(text, 0 if "x" in text else 10)))
        case "UINT_LIT":
            number = int(text[:-1], 0 if "x" in text else 10)
            if not 0 <= number < 1 << 64:
                raise CompileError(f"{text} is out of range")
            return Node("literal", value=Uint(number))
        case "FLOAT_LIT":
            value = exact_double(text)
            if value is None:
                raise CompileError(f"no double equals {text}")
            return Node("literal", value=value)
        case "STRING_LIT" | "MLSTRING_LIT":
            return Node("literal", value=_unquote(text))
    raise CompileError(f"unsupported literal {text}")


def _bounded(number: int) -> int:
    if not -(1 << 63) <= number < 1 << 63:
        raise CompileError(f"{number} is out of range")
    return number


def _unquote(text: str) -> str:
    raw = text[0] in "rR"
    text = text[1:] if raw else text
    text = text[3:-3] if text[:3] in ('"""', "'''") else text[1:-1]
    if raw:
        return text

    def escaped(match: re.Match[str]) -> str:
        body = match[1]
        if body in ESCAPES:
            return ESCAPES[body]
        if re.fullmatch(r"[0-7]{3}", body):
            return chr(int(body, 8))
        if body[0] in "xXuU" and len(body) > 1:
            return chr(int(body[1:], 16))
        raise CompileError(f"unknown escape \\{body}")

    pattern = r"\\(x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|[0-7]{3}|.)"
    return re.sub(pattern, escaped, text, flags=re.DOTALL)


def exact_double(text: str) -> float | None:
    """Return the double of a number, or None if "Values" of the text makes it an error."""
    from decimal import Decimal  # noqa: PLC0415

    value = float(text)
    if value in (float("inf"), float("-inf")):
        return None
    if abs(Decimal(text)) >= 1 << 53 and Decimal(value) != Decimal(text):
        return None
    return value


# --- types

VARIABLES: Final[dict[str, Type]] = {
    "subject": ("map", "string", "dyn"),
    "stage": "string",
    "environment": "string",
    "now": "timestamp",
    "parameters": "dyn",
    "evidence": ("list", ("map", "string", "dyn")),
    "vulnerabilities": ("list", ("map", "string", "dyn")),
    "findings": ("list", ("map", "string", "dyn")),
}
CONVERSIONS: Final = {
    "bool": ("string", "bool"),
    "bytes": ("string", "bytes"),
    "double": ("int", "uint", "string", "double"),
    "duration": ("string", "duration"),
    "int": ("uint", "double", "string", "timestamp", "duration", "int"),
    "string": ("int", "uint", "double", "bool", "bytes", "timestamp", "duration", "string"),
    "timestamp": ("string", "int", "timestamp"),
    "uint": ("int", "double", "string", "uint"),
}
STRINGS: Final[dict[str, tuple[list[str], Type]]] = {
    "contains": (["string"], "bool"), "endsWith": (["string"], "bool"),
    "startsWith": (["string"], "bool"), "matches": (["string"], "bool"),
    "charAt": (["int"], "string"), "lowerAscii": ([], "string"), "upperAscii": ([], "string"),
    "reverse": ([], "string"), "trim": ([], "string"),
    "substring": (["int", "int"], "string"), "indexOf": (["string", "int"], "int"),
    "lastIndexOf": (["string", "int"], "int"), "split": (["string", "int"], ("list", "string")),
}  # fmt: skip
OPTIONAL_ARGUMENT: Final = {"substring", "indexOf", "lastIndexOf", "split"}
DATES: Final = {
    "getDate", "getDayOfMonth", "getDayOfWeek", "getDayOfYear", "getFullYear", "getMonth",
    "getHours", "getMinutes", "getSeconds", "getMilliseconds",
}  # fmt: skip
TIMES: Final = {"getHours", "getMinutes", "getSeconds", "getMilliseconds"}
ARITHMETIC: Final = {
    "+": {"int", "uint", "double", "string", "bytes"},
    "-": {"int", "uint", "double"},
    "*": {"int", "uint", "double"},
    "/": {"int", "uint", "double"},
    "%": {"int", "uint"},
}
NUMBERS: Final = {"int", "uint", "double"}
ORDERED: Final = NUMBERS | {"string", "bytes", "bool", "timestamp", "duration"}


def fits(actual: Type, wanted: Type) -> bool:
    """Report whether a value of one static type can be one of the other."""
    if "dyn" in (actual, wanted) or actual == wanted:
        return True
    if isinstance(actual, tuple) and isinstance(wanted, tuple) and actual[0] == wanted[0]:
        return all(fits(a, w) for a, w in zip(actual[1:], wanted[1:], strict=True))
    return False


def check(node: Node, scope: Mapping[str, Type]) -> Type:
    """Return the static type of an expression, or refuse it."""

    def wrong(*types: Type) -> CompileError:
        return CompileError(f"{node.op} {node.name} is not defined for {types}")

    if node.op == "ident":
        if node.name not in scope:
            raise CompileError(f"{node.name} is not defined")
        return scope[node.name]
    if node.op == "literal":
        return type_name(node.value)
    if node.op in MACROS:
        source = check(node.args[0], scope)
        if source != "dyn" and not isinstance(source, tuple):
            raise wrong(source)
        item = source[1] if isinstance(source, tuple) else "dyn"
        body = check(node.args[1], {**scope, node.name: item})
        if node.op == "map":
            return ("list", body)
        if not fits(body, "bool"):
            raise wrong(body)
        return ("list", item) if node.op == "filter" else "bool"
    types = [check(arg, scope) for arg in node.args]
    match node.op:
        case "has" | "select":
            if types[0] != "dyn" and types[0][0] != "map":
                raise wrong(*types)
            return "bool" if node.op == "has" else types[0][2] if types[0] != "dyn" else "dyn"
        case "[]":
            if types[0] == "dyn":
                return "dyn"
            if isinstance(types[0], tuple):
                key = "int" if types[0][0] == "list" else types[0][1]
                if fits(types[1], key):
                    return types[0][-1]
            raise wrong(*types)
        case "&&" | "||" | "!":
            if not all(fits(t, "bool") for t in types):
                raise wrong(*types)
            return "bool"
        case "?:":
            if not fits(types[0], "bool") or not fits(types[1], types[2]):
                raise wrong(*types)
            return types[1] if types[1] == types[2] else "dyn"
        case "==" | "!=":
            if not fits(*types):
                raise wrong(*types)
            return "bool"
        case "<" | "<=" | ">" | ">=":
            numbers = {"int", "uint", "double", "dyn"}
            same = fits(*types) or set(types) <= numbers
            if not same or not all(t == "dyn" or t in ORDERED for t in types):
                raise wrong(*types)
            return "bool"
        case "in":
            if types[1] == "dyn" or (
                types[1][0] in ("list", "map") and fits(types[0], types[1][1])
            ):
                return "bool"
            raise wrong(*types)
        case "neg":
            if types[0] not in ("int", "double", "dyn"):
                raise wrong(*types)
            return types[0]
        case "+" | "-" | "*" | "/" | "%":
            return _arithmetic_type(node.op, types, wrong)
        case "list":
            same = all(t == types[0] for t in types)
            return ("list", types[0] if types and same else "dyn")
        case "map{}":
            keys, values = types[::2], types[1::2]
            return (
                "map",
                keys[0] if keys and len(set(map(str, keys))) == 1 else "dyn",
                values[0] if values and len(set(map(str, values))) == 1 else "dyn",
            )
        case "call":
            return _call_type(node, types, wrong)
    raise CompileError(f"unknown operator {node.op}")


def _arithmetic_type(op: str, types: list[Type], wrong: Callable[..., CompileError]) -> Type:
    left, right = types
    if "dyn" in types:
        other = right if left == "dyn" else left
        ok = other == "dyn" or other in ARITHMETIC[op] | {"timestamp", "duration"}
        if not ok and not (op == "+" and isinstance(other, tuple) and other[0] == "list"):
            raise wrong(*types)
        return "dyn"
    if left == right and left in ARITHMETIC[op]:
        return left
    if op == "+" and fits(left, right) and left[0] == "list":
        return left
    times = {
        ("+", "timestamp", "duration"): "timestamp",
        ("+", "duration", "timestamp"): "timestamp",
        ("+", "duration", "duration"): "duration",
        ("-", "timestamp", "timestamp"): "duration",
        ("-", "timestamp", "duration"): "timestamp",
        ("-", "duration", "duration"): "duration",
    }
    if (op, left, right) in times:
        return times[op, left, right]
    raise wrong(*types)


def _call_type(node: Node, types: list[Type], wrong: Callable[..., CompileError]) -> Type:
    name = node.name
    if name in ("dyn", "type") and len(types) == 1 and not node.member:
        return "dyn" if name == "dyn" else "type"
    if name == "size" and len(types) == 1:
        if types[0] in ("string", "bytes", "dyn") or isinstance(types[0], tuple):
            return "int"
    elif name in CONVERSIONS and len(types) == 1 and not node.member:
        if types[0] == "dyn" or types[0] in CONVERSIONS[name]:
            return name
    elif name in ("sets.contains", "sets.intersects", "sets.equivalent") and len(types) == 2:
        if all(t == "dyn" or t[0] == "list" for t in types) and fits(*types):
            return "bool"
    elif name == "strings.quote" and len(types) == 1 and fits(types[0], "string"):
        return "string"
    elif name in DATES and node.member and len(types) in (1, 2):
        allowed = {"timestamp", "dyn"} | ({"duration"} if name in TIMES else set())
        if types[0] in allowed and (len(types) == 1 or fits(types[1], "string")):
            return "int"
    elif name in STRINGS and (node.member or name == "matches"):
        arguments, result = STRINGS[name]
        few = len(arguments) - (name in OPTIONAL_ARGUMENT)
        wanted = ["string", *arguments][: len(types)]
        if few <= len(types) - 1 <= len(arguments) and all(map(fits, types, wanted)):
            if name == "matches":
                _check_pattern(node.args[1])
            return result
    raise wrong(*types)


def _check_pattern(node: Node) -> None:
    if node.op != "literal" or not isinstance(node.value, str):
        raise CompileError("the pattern of matches must be a literal")
    try:
        re2.compile(node.value)
    except re2.error as error:
        raise CompileError(str(error)) from error


def variables(node: Node, bound: frozenset[str] = frozenset()) -> set[str]:
    """Return the variables of an expression, without those that its macros bind."""
    if node.op == "ident":
        return set() if node.name in bound else {node.name}
    inner = bound | {node.name} if node.op in MACROS else bound
    found: set[str] = set()
    for position, arg in enumerate(node.args):
        found |= variables(arg, inner if position else bound)
    return found


# --- values


def type_name(value: Value) -> str:
    """Return the type of a value, without those of elements."""
    if isinstance(value, dict):
        return "map"
    names: list[tuple[type, str]] = [
        (bool, "bool"), (Uint, "uint"), (int, "int"), (float, "double"), (str, "string"),
        (bytes, "bytes"), (list, "list"), (datetime, "timestamp"), (timedelta, "duration"),
        (TypeValue, "type"),
    ]  # fmt: skip
    for kind, name in names:
        if isinstance(value, kind):
            return name
    return "null"


def use(value: Value) -> Value:
    """Return the value, or raise the error that it is."""
    if isinstance(value, ErrorValue):
        raise CelError(value.text, value.code)
    return value


def equal(left: Value, right: Value, charge: Callable[[int], None]) -> Any:
    """Compare two values to any depth. The result can be unknown."""
    left, right = use(left), use(right)
    charge(1)
    if left is UNKNOWN or right is UNKNOWN:
        return UNKNOWN
    one, other = type_name(left), type_name(right)
    if one in NUMBERS and other in NUMBERS:
        return bool(left == right)
    if one != other:
        return False
    if one == "string":
        charge((len(left) + len(right)) // 16)
    if one == "list":
        return len(left) == len(right) and _every(
            equal(a, b, charge) for a, b in zip(left, right, strict=True)
        )
    if one == "map":
        return left.keys() == right.keys() and _every(
            equal(value, right[key], charge) for key, value in left.items()
        )
    return bool(left == right)


def _every(results: Any) -> Any:
    unknown = False
    for result in results:
        if result is UNKNOWN:
            unknown = True
        elif not result:
            return False
    return UNKNOWN if unknown else True


def parse_time(text: str) -> datetime:
    """Parse a time of RFC 3339."""
    pattern = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)"
    if not re.fullmatch(pattern, text):
        raise CelError(f"{text} is not a time")
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except ValueError as error:
        raise CelError(str(error)) from error


def parse_duration(text: str) -> timedelta:
    """Parse a duration such as 1h30m."""
    units = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}
    if not re.fullmatch(r"[+-]?(\d+(\.\d+)?(h|ms|us|ns|m|s))+|0", text):
        raise CelError(f"{text} is not a duration")
    parts = re.findall(r"(\d+(?:\.\d+)?)(h|ms|us|ns|m|s)", text)
    total = timedelta(seconds=sum(float(number) * units[unit] for number, unit in parts))
    return -total if text.startswith("-") else total


# --- evaluation

CONDITION_BUDGET: Final = 1_000_000


class Budget:
    """The units that the conditions of a decision can still use."""

    def __init__(self, units: int = 8_000_000) -> None:
        self.units = units


class Evaluation:
    """One evaluation of one condition."""

    def __init__(self, variables_: Mapping[str, Value], budget: Budget | None = None) -> None:
        self.variables = variables_
        self.budget = budget or Budget()
        self.left = CONDITION_BUDGET

    def charge(self, units: int) -> None:
        self.left -= units
        self.budget.units -= units
        if self.left < 0 or self.budget.units < 0:
            raise BudgetError("the condition costs too much")

    def run(self, node: Node) -> Value:
        """Return true, false or UNKNOWN, or raise CelError."""
        result = self.eval(node, {})
        if result is not UNKNOWN and not isinstance(result, bool):
            raise CelError("the condition is neither true nor false")
        return result

    def eval(self, node: Node, scope: Mapping[str, Value]) -> Value:
        self.charge(1)
        match node.op:
            case "literal":
                return node.value
            case "ident":
                return use(self._variable(node.name, scope))
            case "&&" | "||":
                return self._logic(
                    node.op == "||", (lambda a=a: self.eval(a, scope) for a in node.args)
                )
            case "?:":
                chosen = self.eval(node.args[0], scope)
                if chosen is UNKNOWN:
                    return UNKNOWN
                if not isinstance(chosen, bool):
                    raise CelError("the condition of ?: is not true or false")
                return self.eval(node.args[1 if chosen else 2], scope)
            case "has" | "select":
                return self._select(node, self.eval(node.args[0], scope))
            case _ if node.op in MACROS:
                return self._macro(node, scope)
        values = [self.eval(arg, scope) for arg in node.args]
        if node.op == "list":
            return values
        if node.op == "map{}":
            return dict(zip(values[::2], values[1::2], strict=True))
        if node.op == "in":
            return self._in(*values)
        if any(value is UNKNOWN for value in values):
            return UNKNOWN
        if node.op == "call":
            return self._function(node.name, values)
        return self._operator(node.op, values)

    def _variable(self, name: str, scope: Mapping[str, Value]) -> Value:
        if name in scope:
            return scope[name]
        value = self.variables[name]
        if isinstance(value, Lazy):
            value, cost = (lazy := value).get()
            if not lazy.charged:
                lazy.charged = True
                self.charge(cost)
        return value

    def _logic(self, decisive: bool, operands: Any) -> Value:
        error: CelError | None = None
        unknown = False
        for operand in operands:
            try:
                value = operand()
            except BudgetError:
                raise
            except CelError as raised:
                error = error or raised
                continue
            if value is UNKNOWN:
                unknown = True
            elif not isinstance(value, bool):
                error = error or CelError("an operand is not true or false")
            elif value is decisive:
                return decisive
        if unknown:
            return UNKNOWN
        if error:
            raise error
        return not decisive

    def _select(self, node: Node, value: Value) -> Value:
        if value is UNKNOWN:
            return UNKNOWN
        if not isinstance(value, dict):
            raise CelError(f"{node.name} is read from something that is not a map")
        if node.op == "has":
            return node.name in value
        if node.name not in value:
            raise CelError(f"no such key: {node.name}")
        return use(value[node.name])

    def _macro(self, node: Node, scope: Mapping[str, Value]) -> Value:
        source = self.eval(node.args[0], scope)
        if source is UNKNOWN:
            return UNKNOWN
        if not isinstance(source, list | dict):
            raise CelError(f"{node.op} needs a list or map")
        items = list(source)

        def body(item: Value) -> Value:
            return self.eval(node.args[1], {**scope, node.name: item})

        if node.op in ("all", "exists"):
            return self._logic(node.op == "exists", (lambda i=i: body(i) for i in items))
        results = [body(item) for item in items]
        if node.op == "map":
            return results
        if any(result is UNKNOWN for result in results):
            return UNKNOWN
        if not all(isinstance(result, bool) for result in results):
            raise CelError(f"{node.op} needs true or false")
        if node.op == "filter":
            return [item for item, result in zip(items, results, strict=True) if result]
        return results.count(True) == 1

    def _in(self, element: Value, source: Value) -> Value:
        if source is UNKNOWN or element is UNKNOWN:
            return UNKNOWN
        if isinstance(source, dict):
            return any(equal(element, key, self.charge) for key in source)
        if not isinstance(source, list):
            raise CelError("in needs a list or map")
        return self._logic(True, (lambda i=i: equal(element, i, self.charge) for i in source))

    def _operator(self, op: str, values: list[Value]) -> Value:
        match op:
            case "==":
                return equal(values[0], values[1], self.charge)
            case "!=":
                result = equal(values[0], values[1], self.charge)
                return result if result is UNKNOWN else not result
            case "<" | "<=" | ">" | ">=":
                return _order(op, *values)
            case "!":
                if not isinstance(values[0], bool):
                    raise CelError("! needs true or false")
                return not values[0]
            case "neg":
                return _arithmetic("-", type(values[0])(), values[0])
            case "[]":
                return use(_index(*values))
        return _arithmetic(op, *values)

    def _function(self, name: str, values: list[Value]) -> Value:
        text = sum(len(v) for v in values if isinstance(v, str | bytes))
        self.charge(text if name == "split" else text // 16)
        if name == "dyn":
            return values[0]
        if name == "type":
            return TypeValue(type_name(values[0]))
        if name.startswith("sets."):
            return self._sets(name, *values)
        if name in CONVERSIONS:
            return _convert(name, values[0])
        if name == "size":
            if not isinstance(values[0], str | bytes | list | dict):
                raise CelError("size needs a text, list or map")
            return len(values[0])
        if name in DATES:
            return _date(name, *values)
        wanted = [str, *(int if w == "int" else str for w in STRINGS.get(name, ([], ""))[0])]
        if not all(isinstance(v, w) for v, w in zip(values, wanted, strict=False)):
            raise CelError(f"{name}: wrong argument")
        return _string(name, *values)

    def _sets(self, name: str, left: Value, right: Value) -> bool:
        if not isinstance(left, list) or not isinstance(right, list):
            raise CelError(f"{name} needs two lists")
        if name == "sets.contains":
            return all(self._in(element, left) for element in right)
        if name == "sets.intersects":
            return any(self._in(element, left) for element in right)
        return self._sets("sets.contains", left, right) and self._sets("sets.contains", right, left)


def _index(source: Value, key: Value) -> Value:
    if isinstance(source, list):
        if isinstance(key, bool) or not isinstance(key, int | float) or key != int(key):
            raise CelError("the index of a list is not an integer")
        if not 0 <= key < len(source):
            raise CelError("index out of bounds")
        return source[int(key)]
    if isinstance(source, dict) and not isinstance(key, bool):
        if key in source:
            return source[key]
        raise CelError(f"no such key: {key}")
    raise CelError("[] needs a list or map")


def _order(op: str, left: Value, right: Value) -> bool:
    one, other = type_name(left), type_name(right)
    if one not in ORDERED or not (one == other or {one, other} <= NUMBERS):
        raise CelError(f"{op} does not order {one} and {other}")
    if one == "string":
        left, right = left.encode(), right.encode()
    results = {"<": left < right, "<=": left <= right, ">": left > right, ">=": left >= right}
    return bool(results[op])


def _arithmetic(op: str, left: Value, right: Value) -> Value:
    one, other = type_name(left), type_name(right)
    try:
        if one == other and one in ("int", "uint"):
            return _integer(op, left, right, one)
        if one == other == "double":
            return _double(op, left, right)
        if op == "+" and one == other and one in ("string", "bytes", "list"):
            return left + right
        pairs = {("timestamp", "duration"), ("duration", "timestamp"), ("duration", "duration")}
        if op == "+" and (one, other) in pairs:
            return left + right
        pairs = {("timestamp", "duration"), ("timestamp", "timestamp"), ("duration", "duration")}
        if op == "-" and (one, other) in pairs:
            return left - right
    except OverflowError as error:
        raise CelError(str(error)) from error
    raise CelError(f"{op} is not defined for {one} and {other}")


def _integer(op: str, left: int, right: int, kind: str) -> int:
    left, right = int(left), int(right)
    if op in "/%":
        if right == 0:
            raise CelError("division by zero")
        quotient = abs(left) // abs(right) * (1 if (left < 0) == (right < 0) else -1)
        number = quotient if op == "/" else left - quotient * right
    else:
        number = {"+": left + right, "-": left - right, "*": left * right}[op]
    if kind == "uint":
        if not 0 <= number < 1 << 64:
            raise CelError("overflow")
        return Uint(number)
    if not -(1 << 63) <= number < 1 << 63:
        raise CelError("overflow")
    return number


def _double(op: str, left: float, right: float) -> float:
    match op:
        case "+":
            return left + right
        case "-":
            return left - right
        case "*":
            return left * right
        case "/":
            if right:
                return left / right
            return float("nan") if left == 0 else float("inf") if left > 0 else float("-inf")
    raise CelError("% is not defined for doubles")


def _convert(name: str, value: Value) -> Value:
    kind = type_name(value)
    if kind == name:
        return value
    try:
        match name, kind:
            case "int" | "uint", "int" | "uint" | "double" | "string":
                if kind == "string" and not re.fullmatch(r"-?\d+", value):
                    raise CelError(f"{value} is not an integer")
                number = int(value)
                low, high = (0, 1 << 64) if name == "uint" else (-(1 << 63), 1 << 63)
                if not low <= number < high:
                    raise CelError("overflow")
                return Uint(number) if name == "uint" else number
            case "int", "timestamp":
                return int(value.timestamp())
            case "double", "int" | "uint" | "string":
                result = exact_double(str(int(value) if kind != "string" else value))
                if result is None:
                    raise CelError(f"no double equals {value}")
                return result
            case "string", "int" | "uint":
                return str(int(value))
            case "string", "bool":
                return "true" if value else "false"
            case "string", "bytes":
                return value.decode()
            case "string", "timestamp":
                return value.isoformat().replace("+00:00", "Z")
            case "bytes", "string":
                return value.encode()
            case "bool", "string" if value in ("true", "false"):
                return bool(value == "true")
            case "timestamp", "string":
                return parse_time(value)
            case "timestamp", "int":
                return datetime.fromtimestamp(value, UTC)
            case "duration", "string":
                return parse_duration(value)
    except (ValueError, OverflowError, OSError) as error:
        raise CelError(str(error)) from error
    raise CelError(f"{name}() of {kind}")


def _date(name: str, value: Value, zone: Value = None) -> int:
    if isinstance(value, timedelta):
        unit = {"getHours": 3600, "getMinutes": 60, "getSeconds": 1}.get(name)
        if unit is None:
            return value.microseconds // 1000
        return int(value.total_seconds()) // unit
    if not isinstance(value, datetime):
        raise CelError(f"{name} needs a time")
    if zone not in (None, "UTC", "Z", "+00:00"):
        raise CelError("this evaluator has no time zones")
    return {
        "getDate": value.day, "getDayOfMonth": value.day - 1,
        "getDayOfWeek": value.isoweekday() % 7, "getDayOfYear": value.timetuple().tm_yday - 1,
        "getFullYear": value.year, "getMonth": value.month - 1, "getHours": value.hour,
        "getMinutes": value.minute, "getSeconds": value.second,
        "getMilliseconds": value.microsecond // 1000,
    }[name]  # fmt: skip


def _string(name: str, text: str, *args: Any) -> Value:
    match name:
        case "contains":
            return args[0] in text
        case "startsWith":
            return text.startswith(args[0])
        case "endsWith":
            return text.endswith(args[0])
        case "matches":
            return re2.search(args[0], text) is not None
        case "charAt":
            if not 0 <= args[0] <= len(text):
                raise CelError("index out of range")
            return text[args[0] : args[0] + 1]
        case "lowerAscii":
            return "".join(c.lower() if c.isascii() else c for c in text)
        case "upperAscii":
            return "".join(c.upper() if c.isascii() else c for c in text)
        case "reverse":
            return text[::-1]
        case "trim":
            return text.strip()
        case "substring":
            end = args[1] if len(args) > 1 else len(text)
            if not 0 <= args[0] <= end <= len(text):
                raise CelError("index out of range")
            return text[args[0] : end]
        case "indexOf":
            return text.find(*args)
        case "lastIndexOf":
            return text.rfind(args[0]) if len(args) == 1 else text.rfind(args[0], 0, args[1] + 1)
        case "split":
            limit = args[1] if len(args) > 1 else -1
            if limit == 0:
                return []
            parts = list(text) if args[0] == "" else text.split(args[0])
            if limit > 0 and len(parts) > limit:
                parts[limit - 1 :] = [args[0].join(parts[limit - 1 :])]
            return parts
        case "strings.quote":
            return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
    raise CelError(f"unknown function {name}")
