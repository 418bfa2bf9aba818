"""What each case may cost: read, compared with what it does cost, and written.

A threshold that moves by itself guards nothing, and one that nobody may move is switched off. So the
values stand in a file under version control, each with the reason why it was moved last, and moving one
is a line of the commit that makes it necessary.
"""

import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path


class Malformed(Exception):
    """The file does not say what is allowed. Tells where it does not."""


@dataclass(frozen=True)
class Threshold:
    """Instructions of one exchange as they were measured when it was set, and why it was set."""

    instructions: int
    reason: str


@dataclass(frozen=True)
class Allowed:
    """The file: thresholds by case, and what they were measured with."""

    measured_with: str
    thresholds: Mapping[str, Threshold]


@dataclass(frozen=True)
class Judgement:
    """What is to be said about one case, and whether it is to be put right before it goes on."""

    case: str
    is_failure: bool
    text: str


def parsed(text: str, cases: Collection[str]) -> Allowed:
    """Fails with the first fault. Cases may be missing: whoever judges them says so."""
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise Malformed(str(error)) from None
    measured_with = tables.pop("measured_with", None)
    if not isinstance(measured_with, str):
        raise Malformed("`measured_with` is missing, or no string")
    return Allowed(measured_with, {case: threshold(case, table, cases) for case, table in tables.items()})


def threshold(case: str, table: object, cases: Collection[str]) -> Threshold:
    if case not in cases:
        raise Malformed(f"there is no case `{case}`, only {', '.join(cases)}")
    if not isinstance(table, dict) or table.keys() != {"instructions", "reason"}:
        raise Malformed(f"[{case}] must have `instructions` and `reason`, and nothing else")
    instructions, reason = table["instructions"], table["reason"]
    if type(instructions) is not int or instructions <= 0:
        raise Malformed(f"[{case}] `instructions` must be a whole number above 0")
    if not isinstance(reason, str) or not reason.strip():
        raise Malformed(f"[{case}] `reason` must say why the threshold was moved")
    return Threshold(instructions, reason)


def judge(measured: Mapping[str, int], thresholds: Mapping[str, Threshold]) -> list[Judgement]:
    """One judgement for each case that was measured."""
    return [judged(case, value, thresholds.get(case)) for case, value in measured.items()]


def judged(case: str, measured: int, threshold: Threshold | None) -> Judgement:
    if threshold is None:
        return Judgement(case, True, "has no threshold")
    growth = measured / threshold.instructions - 1
    if measured > threshold.instructions * (1 + TOLERANCE):
        return Judgement(case, True, f"{growth:+.1%}: costs more than the {TOLERANCE:.0%} that it may")
    if measured < threshold.instructions * (1 - TOLERANCE):
        return Judgement(case, False, f"{growth:+.1%}: cheaper; lower the threshold, so that it stays so")
    return Judgement(case, False, f"{growth:+.1%}")


def moved(old: Allowed, measured: Mapping[str, int], reason: str, measured_with: str) -> Allowed:
    """With the thresholds of what was measured set anew. Those of other cases must still hold."""
    kept = old.thresholds.keys() - measured.keys()
    if kept and measured_with != old.measured_with:
        raise Malformed(
            f"the other thresholds were measured with {old.measured_with}, here is {measured_with}: move all at once"
        )
    new = {case: Threshold(value, reason) for case, value in measured.items()}
    return Allowed(measured_with, {**old.thresholds, **new})


def written(allowed: Allowed, cases: Collection[str]) -> str:
    text = HEAD + f"measured_with = {quoted(allowed.measured_with)}\n"
    for case in cases:
        if threshold := allowed.thresholds.get(case):
            text += f"\n[{case}]\ninstructions = {threshold.instructions:_}\nreason = {quoted(threshold.reason)}\n"
    return text


def quoted(text: str) -> str:
    """As a TOML string: on one line, whatever it was."""
    return '"' + " ".join(text.split()).replace("\\", "\\\\").replace('"', '\\"') + '"'


# A case may cost so much more than its threshold: twenty times the noise, so that chance never fails,
# and as much as a careless line on the path of every request costs.
TOLERANCE = 0.03

FILE = Path(__file__).with_name("allowed.toml")

HEAD = """\
# What one exchange may cost: instructions in user space, by case. A case that costs 3 % more fails.
# Move a threshold in the commit that makes it necessary, and give the reason:
#
#     benches/instructions/run.py --cases NAME,NAME --move "what is bought with it"
#
# docs/benchmarks.md tells what is counted, and how.

"""
