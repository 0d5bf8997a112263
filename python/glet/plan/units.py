"""Which units of a GPU each gpulet gets.

A gpulet is a run of neighbouring units, so that a device has few places and a CUDA graph, which
belongs to the place that it was captured on, is found again.
"""

from collections.abc import Sequence

from glet.errors import ConfigError
from glet.types.device import DeviceInfo
from glet.types.units import Units


def units_of(share_pct: int, device: DeviceInfo) -> int:
    """Units of a share, rounded down to what may be given. Raises ConfigError for less than one.

    It is a share of the units and not of the SMs, so shares that sum to 100 always fit: on 15
    units of 8 SMs out of 132, twice 50 percent is 7 and 7.
    """
    asked = count = share_pct * device.units // 100
    while count in device.bad_units:
        count -= 1
    if count < 1 <= asked:
        raise ConfigError(
            f"gpulet {share_pct} % of {device.name}: its {asked} units cannot be trusted "
            f"(glet doctor), nor can fewer; {_least_good(device)}"
        )
    if count < 1:
        raise ConfigError(
            f"gpulet {share_pct} % of {device.name}: is less than one of its {device.units} units "
            f"of {device.unit_sms} SMs; {_least_good(device)}"
        )
    return count


def _least_good(device: DeviceInfo) -> str:
    good = [n for n in range(1, device.units + 1) if n not in device.bad_units]
    if not good:
        return "no share of it works: do not use partition green"
    return f"the smallest share that works is {-(-100 * good[0] // device.units)} %"


def sms_of(units: Units, device: DeviceInfo) -> int:
    """How many SMs a place has."""
    return units.count * device.unit_sms + units.remainder * device.remainder_sms


def place_units(
    shares_pct: Sequence[int], now: Sequence[Units | None], device: DeviceInfo
) -> tuple[Units, ...]:
    """Disjoint places for gpulets of these shares, in order; `now` is where each is, None: new.

    Who has a place of the right size keeps it, the others get the first run of free units that is
    long enough (first fit). Where the free units do not lie side by side all are placed anew, and
    some move. Raises ConfigError for shares above 100 % together, and as units_of().
    """
    total_pct = sum(shares_pct)
    if total_pct > 100:
        raise ConfigError(f"shares of {device.name} add up to {total_pct} %; at most 100 is valid")
    wanted = [_size(share, device) for share in shares_pct]
    kept = [_keep(size, place) for size, place in zip(wanted, now, strict=True)]
    placed = _first_fit(wanted, kept, device.units)
    if placed is None:
        placed = _first_fit(wanted, [None] * len(wanted), device.units)
    if placed is None:
        raise ConfigError(f"{device.name} has {device.units} units: too few for these shares")
    return placed


def _size(share_pct: int, device: DeviceInfo) -> Units:
    count = units_of(share_pct, device)
    return Units(0, count, count == device.units and device.remainder_sms > 0)


def _keep(size: Units, place: Units | None) -> Units | None:
    if place is None or (place.count, place.remainder) != (size.count, size.remainder):
        return None
    return place


def _first_fit(
    wanted: Sequence[Units], kept: Sequence[Units | None], total: int
) -> tuple[Units, ...] | None:
    """None when somebody finds no place."""
    taken = sorted(place for place in kept if place is not None)
    placed = []
    for size, place in zip(wanted, kept, strict=True):
        if place is None:
            first = _first_free(size.count, taken, total)
            if first is None:
                return None
            place = Units(first, size.count, size.remainder)
            taken = sorted([*taken, place])
        placed.append(place)
    return tuple(placed)


def _first_free(count: int, taken: Sequence[Units], total: int) -> int | None:
    first = 0
    for place in taken:
        if first + count <= place.first:
            break
        first = max(first, place.end)
    return first if first + count <= total else None
