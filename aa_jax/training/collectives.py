"""What the devices of a compiled program exchange."""

from __future__ import annotations

import math
import re
from typing import NamedTuple

ITEM_SIZES = {"pred": 1, "bf16": 2, "f16": 2}

_OPERATION = re.compile(
    r"= (?P<results>.*?) (?P<kind>all-gather|all-reduce|all-to-all|reduce-scatter|"
    r"collective-permute)(?:-start)?\("
)
_ARRAY = re.compile(r"(?P<dtype>[a-z]+[0-9]*)\[(?P<shape>[0-9,]*)\]")
_COMPUTATION = re.compile(r"^(?:ENTRY )?%?(?P<name>[\w.-]+) \(.*\) -> .* \{$")
_LOOP = re.compile(r"while\(.*body=%?(?P<body>[\w.-]+)")
_TRIPS = re.compile(r'"known_trip_count":\{"n":"(?P<n>\d+)"\}')


class Collective(NamedTuple):
    """All operations of one kind in one run of a program.

    Attributes:
      kind: as XLA calls it.
      count: how often one is run.
      bytes: of their results on one device.
    """

    kind: str
    count: int
    bytes: int


def arrays_of(hlo: str) -> list[tuple[str, list[int]]]:
    """Kind, and numbers of elements of all results, of every collective operation in the text."""
    return [
        (match["kind"], [_elements(array["shape"]) for array in _ARRAY.finditer(match["results"])])
        for match in _OPERATION.finditer(hlo)
    ]


def collectives_of(hlo: str) -> tuple[Collective, ...]:
    """Sums over a compiled program's text; what a loop's body exchanges counts per trip."""
    trips = _trips(hlo)
    totals: dict[str, list[int]] = {}
    computation = ""
    for line in hlo.splitlines():
        if start := _COMPUTATION.match(line):
            computation = start["name"]
        elif match := _OPERATION.search(line):
            times = trips.get(computation, 1)
            size = sum(
                _elements(array["shape"]) * _item_size(array["dtype"])
                for array in _ARRAY.finditer(match["results"])
            )
            total = totals.setdefault(match["kind"], [0, 0])
            total[0] += times
            total[1] += times * size
    return tuple(Collective(kind, *total) for kind, total in sorted(totals.items()))


def _trips(hlo: str) -> dict[str, int]:
    """How often every loop body runs, loops around it included."""
    parents: dict[str, tuple[str, int]] = {}
    computation = ""
    for line in hlo.splitlines():
        if start := _COMPUTATION.match(line):
            computation = start["name"]
        elif loop := _LOOP.search(line):
            known = _TRIPS.search(line)
            parents[loop["body"]] = computation, int(known["n"]) if known else 1

    def total(name: str) -> int:
        outer, times = parents.get(name, ("", 1))
        return times * total(outer) if outer else times

    return {name: total(name) for name in parents}


def _elements(shape: str) -> int:
    return math.prod(map(int, filter(None, shape.split(","))))


def _item_size(dtype: str) -> int:
    digits = re.search(r"\d+", dtype)
    return ITEM_SIZES.get(dtype) or int(digits[0]) // 8
