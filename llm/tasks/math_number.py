r"""A numeral as people write it, read exactly: ``1 1/4``, ``\$1,250.00``, ``50\%``, ``4210_5``.

Only what is certainly a number is read; for all else the answer is ``None`` and the comparison is
left to math-verify.  No text is evaluated as code, and nothing is computed that takes long.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from fractions import Fraction

from diffsmooth.llm.tasks.math_exact import Exact, Unbounded


@dataclass(frozen=True)
class Numeral:
    """An exact number and how it was written.

    ``decimal`` says that it has a decimal point; ``percent`` that a per cent sign follows (the
    value is the number before it); ``base`` and ``digits`` are set for ``4210_5``; ``unit`` is the
    word behind it, in lower case, without a plural's s.
    """

    value: Exact
    decimal: bool = False
    percent: bool = False
    base: str | None = None
    digits: str = ""
    unit: str = ""


#: Words for one unit; only units of this table are compared, others are dropped.
UNITS = {

    "dollar": "dollar", "usd": "dollar", "buck": "dollar", "cent": "cent", "euro": "euro",
    "eur": "euro", "pound sterling": "gbp", "gbp": "gbp", "rupee": "rupee",
    "mm": "mm", "millimeter": "mm", "millimetre": "mm", "cm": "cm", "centimeter": "cm",
    "centimetre": "cm", "m": "m", "meter": "m", "metre": "m", "km": "km", "kilometer": "km",
    "kilometre": "km", "in": "inch", "inch": "inch", "inche": "inch", "ft": "ft", "foot": "ft",
    "feet": "ft", "yd": "yard", "yard": "yard", "mi": "mile", "mile": "mile",
    "g": "g", "gram": "g", "kg": "kg", "kilogram": "kg", "mg": "mg", "lb": "lb", "ton": "ton",
    "sec": "second", "second": "second", "min": "minute", "minute": "minute", "hr": "hour",
    "h": "hour", "hour": "hour", "day": "day", "week": "week", "month": "month", "year": "year",
    "am": "am", "pm": "pm", "l": "l", "liter": "l", "litre": "l", "ml": "ml",
    "milliliter": "ml", "millilitre": "ml", "degree": "degree", "radian": "radian",
}  # fmt: skip
_SCALES = {
    "hundred": 10**2,
    "thousand": 10**3,
    "million": 10**6,
    "billion": 10**9,
    "trillion": 10**12,
    "dozen": 12,
}
_BASES = {
    name: str(value)
    for value, name in enumerate(
        [
            "two",
            "three",
            "four",
            "five",
            "six",
            "seven",
            "eight",
            "nine",
            "ten",
            "eleven",
            "twelve",
            "thirteen",
            "fourteen",
            "fifteen",
            "sixteen",
        ],
        start=2,
    )
} | {"binary": "2", "octal": "8", "decimal": "10", "hexadecimal": "16"}

_TEXT = re.compile(r"\\text\{([^{}]*)\}")
_SPOKEN_BASE = re.compile(r"(-?)([0-9][0-9A-F]*)\s*,?\s*(?:in )?base[- ]?([0-9]{1,2}|[a-z]+)")
_UNIT = re.compile(
    r"(?<=[\d})%!.])(?P<gap>\s*)(?P<words>[A-Za-z][A-Za-z.\-]*(?:[ /]+[A-Za-z][A-Za-z.\-]*)*)"
    r"(?P<power>\s*\^\s*\{?\s*\d\s*\}?)?\s*$"
)
_LEAD = re.compile(r"^\s*(?:\\text\{[^{}]*\}|about|approximately|USD|Rs\.?|US)\s*(?=[-+\d\\(.{])")


def read(text: str) -> Numeral | None:
    """The number that ``text`` (tidied, one part, without ``=``) writes, else ``None``.

    Raises ``Unbounded`` for a number that could only be had by a computation without bound.
    """
    based = _based(text)
    if based is not None:
        return based
    text = _LEAD.sub("", text)
    text, degrees = re.subn(r"\s*\^\{\\circ\}\s*(?:(?:\\text\{\s*)?[CF]\b\s*\}?)?\s*$", "", text)
    unit = "degree" if degrees else ""
    scale = 1
    if not degrees:
        text, unit, scale = _without_unit(text)
    text, percents = re.subn(r"\s*\\?%\s*$", "", text)
    if not percents and unit in ("percent", "pct", "percentage"):
        percents, unit = 1, ""
    reader = _Reader(text)
    value = reader.read()
    if value is None:
        return None
    if scale != 1:
        value = value * Exact(Fraction(scale))
    return Numeral(value, reader.decimal, bool(percents), unit=unit)


def _based(text: str) -> Numeral | None:
    plain = " ".join(_TEXT.sub(r"\1", text).split())
    match = re.fullmatch(
        r"(-?)\(?\s*([0-9][0-9A-Fa-f]*|[A-Fa-f]+[0-9][0-9A-Fa-f]*)\s*\)?\s*_\s*\{?\s*\(?\s*"
        r"(?:base[ -]?)?([0-9]{1,2}|[a-z]+)\s*\)?\s*\}?",
        plain,
    ) or _SPOKEN_BASE.fullmatch(plain)
    if match is None:
        return None
    base = _BASES.get(match[3], match[3])
    if not base.isdigit():
        return None
    digits = match[1] + (match[2].upper().lstrip("0") or "0")
    return Numeral(Exact(Fraction(0)), base=str(int(base)), digits=digits)


def _without_unit(text: str) -> tuple[str, str, int]:
    """(number, unit, scale): ``3 \\text{ million dollars}`` is ("3", "dollar", 10^6)."""
    in_text = re.search(r"\\text\{[^{}]*\}(?:\s*\^\s*\{?\s*\d\s*\}?)?\s*$", text)
    plain = _TEXT.sub(r" \1 ", text) if in_text and text.count(r"\text{") <= 2 else text
    match = _UNIT.search(plain)
    if match is None:
        return text, "", 1
    found = match["words"].lower().replace(".", "")
    if not in_text and not _is_unit(found, bool(match["gap"])):
        return text, "", 1
    scale, names = 1, found.split()
    while names and names[0].rstrip("s") in _SCALES:
        scale *= _SCALES[names.pop(0).rstrip("s")]
    unit = " ".join(names)
    area = re.fullmatch(r"(square|sq|cubic|cu) (.+)", unit)
    power = {"s": "2", "c": "3"}[area[1][0]] if area else re.sub(r"\D", "", match["power"] or "")
    unit = area[2] if area else unit
    unit = unit if unit in UNITS else unit.removesuffix("s")
    return plain[: match.start()], unit + (f"^{power}" if power else ""), scale


def _is_unit(found: str, spaced: bool) -> bool:
    """Whether bare letters behind a number are a unit: ``5 m``, ``5cm``; ``5m`` is a product."""
    first = found.split(maxsplit=1)[0]
    if not spaced:
        singular = first if first in UNITS else first.removesuffix("s")
        return (len(first) > 1 and singular in UNITS) or first in ("st", "nd", "rd", "th")
    known = first in UNITS or first.removesuffix("s") in UNITS
    return known or (len(first) > 3 and first not in _MATHEMATICS)


#: Long words that are mathematics.
_MATHEMATICS = frozenset(
    [
        "sqrt",
        "frac",
        "sinh",
        "cosh",
        "tanh",
        "infinity",
        "alpha",
        "beta",
        "gamma",
        "delta",
        "epsilon",
        "theta",
        "lambda",
        "sigma",
        "omega",
        "zeta",
        "times",
        "choose",
    ]
)


def units_differ(a: str, b: str) -> bool:
    """Whether both units are known and are not the same."""
    names = []
    for unit in (a, b):
        name, _, power = unit.partition("^")
        if name not in UNITS:
            return False
        names.append((UNITS[name], power or "1"))
    return names[0] != names[1]


_TOKENS = re.compile(
    r"(?P<number>\d{1,3}(?: \d{3})+(?![\d/])|\d{1,3}(?:,\d{3})+(?!\d)|\d+)?"
    r"(?P<point>\.(?P<decimals>\d*)(?:\\(?:overline|bar)\s*\{?(?P<repeat>\d+)\}?)?)?"
)


class _Reader:
    """Recursive descent over: numbers, + - * / ^ !, brackets, frac, binom, sqrt of squares."""

    MAX_DEPTH = 40

    def __init__(self, text: str) -> None:
        self.text, self.at, self.decimal, self.depth = text.strip(), 0, False, 0

    def read(self) -> Exact | None:
        if not self.text or len(self.text) > 2_000:
            return None
        try:
            value = self._sum()
        except (_NoNumber, ZeroDivisionError):
            return None
        self._space()
        return value if self.at == len(self.text) else None

    def _space(self) -> bool:
        start = self.at
        while self.text[self.at : self.at + 1].isspace():
            self.at += 1
        return self.at > start

    def _take(self, *options: str) -> str | None:
        self._space()
        for option in options:
            if self.text.startswith(option, self.at):
                end = self.at + len(option)
                if option[-1].isalpha() and self.text[end : end + 1].isalpha():
                    continue
                self.at = end
                return option
        return None

    def _sum(self) -> Exact:
        self.depth += 1
        if self.depth > self.MAX_DEPTH:
            raise _NoNumber
        total = self._product()
        while (sign := self._take("+", "-")) is not None:
            term = self._product()
            total = total + (term if sign == "+" else -term)
        self.depth -= 1
        return total

    def _product(self) -> Exact:
        total, slashed = self._signed(), False
        while True:
            sign = self._take("\\times", "\\cdot", "\\div", "*", "/")
            if sign is not None:
                factor = self._signed()
                total = total * (factor.inverse() if sign in ("/", "\\div") else factor)
                slashed = slashed or sign == "/"
            elif self.text[self.at : self.at + 1] == "(" and not slashed:
                total = total * self._power()
            else:
                return total

    def _signed(self) -> Exact:
        sign = self._take("-", "+")
        if sign is not None:
            self.depth += 1
            if self.depth > self.MAX_DEPTH:
                raise _NoNumber
            value = self._signed()
            self.depth -= 1
            return -value if sign == "-" else value
        return self._power()

    def _power(self) -> Exact:
        base = self._postfix()
        if self._take("^") is None:
            return base
        self._space()
        exponent = (
            self._primary() if self.text[self.at : self.at + 1] == "{" else self._signed_atom()
        )
        whole = exponent.integer()
        if whole is None:
            if not exponent.plain:
                raise Unbounded
            raise _NoNumber
        return base.power(whole)

    def _signed_atom(self) -> Exact:
        negative = self._take("-") is not None
        value = self._postfix()
        if self._take("^") is not None:  # 2^3^4 is a tower for some and an error for TeX
            raise _NoNumber
        return -value if negative else value

    def _postfix(self) -> Exact:
        value = self._primary()
        while self._take("!") is not None:
            if self.text[self.at : self.at + 1] == "!":
                raise _NoNumber  # a double factorial
            value = value.factorial()
        return value

    def _primary(self) -> Exact:
        self._space()
        for opening, closing in (("(", ")"), ("{", "}"), ("[", "]")):
            if self._take(opening) is not None:
                value = self._sum()
                if self._take(closing) is None:
                    raise _NoNumber
                return value
        if self._take("\\frac") is not None:
            return self._fraction()
        if self._take("\\binom", "\\dbinom", "\\tbinom") is not None:
            return self._binomial()
        if self._take("\\sqrt") is not None:
            return self._root()
        return self._number()

    def _argument(self) -> Exact:
        self._space()
        if self.text[self.at : self.at + 1] == "{":
            return self._primary()
        digit = self.text[self.at : self.at + 1]
        if not (digit.isascii() and digit.isdigit()):
            raise _NoNumber
        self.at += 1
        return Exact(Fraction(int(digit)))

    def _fraction(self) -> Exact:
        above = self._argument()
        return above * self._argument().inverse()

    def _binomial(self) -> Exact:
        n, k = self._argument().integer(), self._argument().integer()
        if n is None or k is None or not 0 <= k <= n or n > 3_000:
            raise _NoNumber
        return Exact(Fraction(math.comb(n, k)))

    def _root(self) -> Exact:
        value = self._argument()
        r = value.rational
        if not value.plain or r < 0:
            raise _NoNumber
        above, below = math.isqrt(r.numerator), math.isqrt(r.denominator)
        if above**2 != r.numerator or below**2 != r.denominator:
            raise _NoNumber
        return Exact(Fraction(above, below))

    def _number(self) -> Exact:
        match = _TOKENS.match(self.text, self.at)
        assert match is not None  # it matches the empty text
        whole, decimals, repeat = match["number"], match["decimals"] or "", match["repeat"] or ""
        if whole is None and not decimals and not repeat:
            raise _NoNumber
        digits = (whole or "").replace(",", "").replace(" ", "")
        if max(len(digits), len(decimals), len(repeat)) > 1_000 or not match[0].isascii():
            raise _NoNumber
        self.at = match.end()
        shift = 10 ** len(decimals)
        value = Fraction(int((digits + decimals) or "0"), shift)
        if repeat:
            value += Fraction(int(repeat), shift * (10 ** len(repeat) - 1))
        elif match["point"]:
            self.decimal = True
        if match["point"] is None and (mixed := self._mixed()) is not None:
            value += mixed
        return Exact(value)

    def _mixed(self) -> Fraction | None:
        """The fraction of a mixed number that follows a whole one: `` 1/4``, ``\\frac14``."""
        match = re.match(
            r"(?:\s+(?:and\s+)?(\d+)\s*/\s*(\d+)(?!\s*[\d/.^!])"
            r"|\s*\\frac\s*(?:\{\s*(\d+)\s*\}|(\d))\s*(?:\{\s*(\d+)\s*\}|(\d)))(?!\s*[\^!])",
            self.text[self.at : self.at + 200],
        )
        if match is None:
            follows = self.text[self.at :].lstrip()
            if follows[:1].isdigit() or follows.startswith("\\frac"):
                raise _NoNumber
            return None
        above, below = (int(x) for x in match.groups() if x is not None)
        if not 0 < above < below:
            raise _NoNumber  # 2\frac{3}{2} is rather a product
        self.at += match.end()
        return Fraction(above, below)


class _NoNumber(Exception):
    """The text is not certainly a number."""


#: Digits that a decimal must share with a number that is no decimal.
PLACES = 6


def equal_numbers(gold: Numeral, answer: Numeral) -> bool:
    """Whether two numerals are the same number.

    Exactly, but for a decimal against a fraction that has no finite decimal: these agree when
    they do after rounding to six places and to six significant digits.  A per cent sign on one
    side alone is taken as it is written or left out (50 % is 50 and is 1/2).  A base on one side
    alone is named by the question; the digits decide.
    """
    if gold.base is not None or answer.base is not None:
        return _equal_digits(gold, answer)
    if units_differ(gold.unit, answer.unit):
        return False
    if gold.percent == answer.percent:
        return _close(gold.value, answer.value, gold.decimal != answer.decimal)
    hundredth = Exact(Fraction(1, 100))
    left, right = (n.value * hundredth if n.percent else n.value for n in (gold, answer))
    some = gold.decimal != answer.decimal
    return _close(gold.value, answer.value, some) or _close(left, right, some)


def equal_angles(degrees: Numeral, radians: str) -> bool:
    r"""Whether an angle in degrees is ``radians``, a text linear in ``\pi``."""
    if degrees.unit != "degree" or radians.count(r"\pi") != 1 or "^" in radians:
        return False
    try:
        turns = read(re.sub(r"\\pi(?![a-zA-Z])", "(1)", radians))
    except Unbounded:
        return False
    return turns is not None and _close(
        degrees.value, turns.value * Exact(Fraction(180)), rounded=False
    )


def _equal_digits(gold: Numeral, answer: Numeral) -> bool:
    if gold.base is not None and answer.base is not None:
        return (gold.base, gold.digits) == (answer.base, answer.digits)
    based, other = (gold, answer) if gold.base is not None else (answer, gold)
    value = other.value.integer()
    return value is not None and not other.decimal and based.digits == str(value)


def _close(a: Exact, b: Exact, rounded: bool) -> bool:
    try:
        if a.equals(b):
            return True
    except Unbounded:
        return False
    if not (rounded and a.plain and b.plain) or _terminates(a.rational) == _terminates(b.rational):
        return False
    x, y = a.rational, b.rational
    return round(x, PLACES) == round(y, PLACES) and significant(x) == significant(y)


def _terminates(x: Fraction) -> bool:
    rest = x.denominator
    for p in (2, 5):
        while rest % p == 0:
            rest //= p
    return rest == 1


def significant(x: Fraction) -> Fraction:
    """``x`` rounded to six significant digits."""
    if x == 0:
        return x
    exponent = len(str(abs(x.numerator))) - len(str(x.denominator))
    return round(x, PLACES - exponent)
