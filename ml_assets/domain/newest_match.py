"""For each asking row the newest row of its entity within its limits: integers in, positions out.

What belongs here: one order of the rows, one binary search for all asking rows, and what is left where a second limit
cuts into the order.
What does not: what the two times mean (`point_in_time.py`), entities as integers (`entity_codes.py`).
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Integers = npt.NDArray[np.int64]

_LARGEST_KEY = 2**62


def newest_within(
    codes: Integers,
    times: tuple[Integers, Integers],
    asking_codes: Integers,
    limits: tuple[Integers, Integers],
    reach: int | None,
) -> Integers:
    """For each asking row the position of its match among the rows, or -1 where there is none.

    A match has the asking row's code, neither of its two times is beyond the asking row's limit of it, and the first
    lies no further than `reach` before its limit. Of several the one with the greatest times counts, compared by the
    first, then by the second; of equal ones the last given. Codes of rows are 0 or more; an asking row's below 0
    matches nothing.
    """
    matches = np.full(len(asking_codes), -1, np.int64)
    asking = np.flatnonzero(asking_codes >= 0)
    if not len(codes) or not len(asking):
        return matches
    # One after the other, asking rows of one entity and of near instants find what they look at in the cache.
    asking = asking[_in_coarse_order(limits[0][asking])]
    asking = asking[_in_order_of_code(asking_codes[asking])]
    scale = _Scale.of(times[0], entities=int(max(codes.max(), asking_codes.max())) + 1)
    keys = codes * scale.length + scale.at_or_after(times[0])
    order = _in_order_of_code(codes)
    in_order = keys[order]
    if not _sorted(in_order, times[1], order):
        order = np.lexsort((times[1], keys))
        in_order = keys[order]
    first_key, limit, second_limit = asking_codes[asking] * scale.length, limits[0][asking], limits[1][asking]
    lowest = first_key if reach is None else first_key + scale.at_or_after(limit - reach)
    # A place before the first, of nobody, stands at the end of the order, where no key is as low as wanted.
    place = np.searchsorted(in_order, first_key + scale.at_or_before(limit), side="right") - 1
    found = (place >= 0) & (in_order[place] >= lowest)
    beyond = np.flatnonzero(found & (times[1][order[place]] > second_limit))
    if len(beyond):
        place[beyond] = last_at_or_below(times[1][order], place[beyond], second_limit[beyond])
        found[beyond] = (place[beyond] >= 0) & (in_order[place[beyond]] >= lowest[beyond])
    matches[asking] = np.where(found, order[place], -1)
    return matches


def last_at_or_below(values: Integers, before: Integers, limits: Integers) -> Integers:
    """For each limit the last place before `before` whose value is at or below it, or -1.

    The smaller of every two neighbours, then of every two of those, and so on: each question climbs until a neighbour
    on the left holds an answer and descends to the last one in it, in twice the logarithm of the values' number steps.
    """
    levels = [values]
    while len(levels[-1]) > 1:
        padded = np.append(levels[-1], np.full(len(levels[-1]) % 2, np.iinfo(np.int64).max))
        levels.append(padded.reshape(-1, 2).min(axis=1))
    node, height = before.copy(), np.full(len(before), -1)
    climbing = np.arange(len(before))
    for level, smallest in enumerate(levels):
        left = (node[climbing] % 2 == 1) & (smallest[node[climbing] - 1] <= limits[climbing])
        height[climbing[left]] = level
        node[climbing[left]] -= 1
        climbing = climbing[~left]
        node[climbing] //= 2
    for level in range(len(levels) - 1, 0, -1):
        inside = np.flatnonzero(height >= level)
        right = np.minimum(2 * node[inside] + 1, len(levels[level - 1]) - 1)
        node[inside] = np.where(levels[level - 1][right] <= limits[inside], right, 2 * node[inside])
    node[climbing] = -1
    return node


@dataclass(frozen=True, slots=True)
class _Scale:
    """Instants as numbers from 0 to below `length`, so that code and instant fit one integer.

    By their distance from the earliest; or, for so many entities over so long a time that it does not fit, by their
    place among the distinct ones, `instants`.
    """

    length: int
    origin: int
    instants: Integers | None

    @classmethod
    def of(cls, times: Integers, entities: int) -> "_Scale":
        origin = int(times.min())
        length = int(times.max()) - origin + 1
        if entities <= _LARGEST_KEY // length:
            return cls(length, origin, None)
        instants = np.unique(times)
        return cls(len(instants), 0, instants)

    def at_or_after(self, times: Integers) -> Integers:
        """The number of the first instant of the scale from each time on; `length` for times after its last."""
        if self.instants is None:
            return np.clip(times - self.origin, 0, self.length)
        return np.searchsorted(self.instants, times, side="left")

    def at_or_before(self, times: Integers) -> Integers:
        """The number of the last instant of the scale up to each time; -1 for times before its first."""
        if self.instants is None:
            return np.clip(times - self.origin, -1, self.length - 1)
        return np.searchsorted(self.instants, times, side="right") - 1


def _in_order_of_code(codes: Integers) -> Integers:
    """The order of rows by code; rows of one code stay in the order given (a radix sort, 16 bits at a time)."""
    order = np.argsort(codes.astype(np.uint16), kind="stable")
    for shift in range(16, int(codes.max()).bit_length(), 16):
        order = order[np.argsort((codes[order] >> shift).astype(np.uint16), kind="stable")]
    return order


def _in_coarse_order(times: Integers) -> Integers:
    """The order of rows by time, to a 65,536th of their span."""
    since = times - times.min()
    return np.argsort((since >> max(0, int(since.max()).bit_length() - 16)).astype(np.uint16), kind="stable")


def _sorted(keys: Integers, second: Integers, order: Integers) -> bool:
    """Whether keys are in order, and among equal ones the second times of the rows in that order."""
    if np.all(keys[1:] > keys[:-1]):
        return True
    second = second[order]
    return bool(np.all((keys[1:] > keys[:-1]) | ((keys[1:] == keys[:-1]) & (second[1:] >= second[:-1]))))
