"""The arms of a benchmark by name: what sees real pairs alone, what generated ones too, in which ratio and part."""

from __future__ import annotations

import re
from typing import Literal, get_args

from manifests.settings import Frozen

Task = Literal["classification", "segmentation"]
TASKS: tuple[Task, ...] = get_args(Task)
# The controls train on real pairs alone; every other arm is judged against all of them.
CONTROLS = ("real", "real+oversampling", "real+weighted-loss", "real+replay", "real+strong", "real+copy-paste")
GENERATED = ("hybrid", "hybrid-ungated", "synthetic", "synthetic-then-real")
RATIO_ARMS = ("hybrid", "hybrid-ungated")
_ARM_NAME = re.compile(
    r"^(?P<base>[a-z+-]+)(?:@(?P<ratio>\d*\.?\d+))?(?:%(?P<percent>\d*\.?\d+)|#(?P<number>[1-9]\d{1,8}))?$"
)


class ArmName(Frozen):
    """An arm by its parts: `hybrid@0.5%25` is the base `hybrid`, ratio .5, a quarter of the real pairs.

    part: the real training pairs that it sees, a share up to 1 or a number above, as in `hybrid#100`.
    """

    base: str
    ratio: float = 1.0
    part: float = 1.0

    def __str__(self) -> str:
        ratio = "" if self.ratio == 1 else f"@{self.ratio:g}"
        part = "" if self.part == 1 else f"#{self.part:.0f}" if self.part > 1 else f"%{100 * self.part:g}"
        return self.base + ratio + part

    @property
    def is_control(self) -> bool:
        """Whether the arm sees no generated pair."""
        return self.base in CONTROLS

    @property
    def needs_synthetic(self) -> bool:
        """Whether the arm cannot be built without a synthetic manifest (replay takes its counts from it)."""
        return not self.is_control or self.base == "real+replay"


def parse_arm(name: str) -> ArmName:
    """The parts of an arm's name; ValueError names the arms that exist where the name is not one."""
    match = _ARM_NAME.match(name)
    if not match or match["base"] not in CONTROLS + GENERATED:
        known = ", ".join(CONTROLS + GENERATED)
        also = "hybrid@2 for a ratio, real%25 or real#100 for low data"
        raise ValueError(f"no arm is called {name!r}; choose from {known} ({also})")
    part = float(match["number"] or 0) or float(match["percent"] or 100) / 100
    arm = ArmName(base=match["base"], ratio=float(match["ratio"] or 1), part=part)
    if arm.ratio != 1 and arm.base not in RATIO_ARMS:
        raise ValueError(f"arm {name!r} takes no ratio; only {' and '.join(RATIO_ARMS)} do")
    if not (arm.ratio > 0 and part > 0 and (match["number"] or part <= 1)):
        raise ValueError(f"arm {name!r} needs a ratio above 0 and a percentage above 0 and at most 100")
    return arm
