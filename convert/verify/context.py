"""Window schedules: `uniform` windows must be the same lists of frames."""

from __future__ import annotations

from aa_jax.sampling.windows import ordered_halving, uniform_windows
from convert.verify.cases import Case, CaseError, read_json


def verify(case: Case) -> None:
    """Compares every list of windows and every value of `ordered_halving`."""
    file = case.field("file")
    schedules = read_json(case.folder / file)
    lists = schedules.get("cases", [])
    if len(lists) != case.field("n_cases"):
        case.ledger.fail(f"{file}:cases", f"{len(lists)} cases, not {case.field('n_cases')}")
    if unknown := schedules.keys() - {"cases", "ordered_halving"}:
        raise CaseError(f"{file}: unknown fields {', '.join(sorted(unknown))}")
    for step, value in schedules["ordered_halving"].items():
        name = f"{file}:ordered_halving[{step}]"
        case.ledger.equal(name, ordered_halving(int(step)), value)
    for i, arguments in enumerate(lists):
        name = f"{file}:cases[{i}]"
        with case.attempt(name):
            case.ledger.equal(name, _windows(**arguments), arguments["windows"])
    case.ledger.heading(f"  {len(lists)} lists of windows")


def _windows(
    *, num_frames, context_size, context_stride, context_overlap, step, closed_loop, windows
) -> list[list[int]]:
    del windows
    return list(
        uniform_windows(
            num_frames,
            size=context_size,
            stride=context_stride,
            overlap=context_overlap,
            step=step,
            closed_loop=closed_loop,
        )
    )
