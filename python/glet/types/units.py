"""Where on a GPU a gpulet is."""

import msgspec


class Units(msgspec.Struct, frozen=True, order=True):
    """Neighbouring units of a GPU's SMs: first .. first + count - 1.

    `remainder`: the SMs that fill no unit, too. The driver guarantees nothing about those, so only
    the whole device has them. (csrc/glet/exec/partition/placement.h calls this a Placement.)
    """

    first: int
    count: int
    remainder: bool = False

    @property
    def end(self) -> int:
        return self.first + self.count
