"""For each asking row the newest row of its entity within its limits: integers in, positions out.

What belongs here: one order of the rows, one binary search for each asking row, and what is left where a second limit
cuts into the order.
What does not: what the two times mean (`point_in_time.py`), entities as integers (`entity_codes.py`).
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import polars as pl

Integers = npt.NDArray[np.int64]

_LARGEST_KEY = 2**62
# So many asking rows are answered at a time that what is computed of them stays in the processor's cache.
_BLOCK = 1 << 15


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
    if not len(codes) or not len(asking_codes):
        return np.full(len(asking_codes), -1, np.int64)
    rows = _Rows.of(codes, times, entities=int(max(codes.max(), asking_codes.max(), 0)) + 1)
    workers = pl.thread_pool_size()
    # As many blocks as keep every worker at work to the end.
    number = -(-len(asking_codes) // (_BLOCK * workers)) * workers if len(asking_codes) > _BLOCK else 1
    size = -(-len(asking_codes) // number)
    blocks = [slice(start, start + size) for start in range(0, len(asking_codes), size)]

    def answered(block: slice) -> Integers:
        return rows.newest(asking_codes[block], limits[0][block], limits[1][block], reach)

    if len(blocks) == 1:
        return answered(blocks[0])
    with ThreadPoolExecutor(max_workers=workers) as pool:
        return np.concatenate(list(pool.map(answered, blocks)))


@dataclass(frozen=True)
class _Rows:
    """Rows in order of entity, first and second time: their keys in that order, and the position of each."""

    scale: "_Scale"
    keys: Integers
    position: Integers
    second: Integers

    @classmethod
    def of(cls, codes: Integers, times: tuple[Integers, Integers], entities: int) -> "_Rows":
        first, second = times
        scale = _Scale.of(first, entities)
        keys = codes * scale.length
        keys += scale.numbers(first)
        # Stored days lie in order of time, and so do the rows of one entity when they are put together.
        order = _in_order_of_code(codes)
        in_order = keys[order]
        if not _sorted(in_order, second, order):
            order = np.lexsort((second, keys))
            in_order = keys[order]
        return cls(scale, in_order, order, second)

    def newest(self, codes: Integers, limit: Integers, second_limit: Integers, reach: int | None) -> Integers:
        """The position of each asking row's match, or -1."""
        # One after the other, asking rows of one entity and of near instants find what they look at in the cache.
        asked = _in_coarse_order(limit)
        asked = asked[_in_order_of_code(codes[asked])]
        codes, limit, second_limit = codes[asked], limit[asked], second_limit[asked]
        first_key = codes * self.scale.length
        place = np.searchsorted(self.keys, first_key + self.scale.at_or_before(limit), side="right") - 1
        lowest = first_key if reach is None else first_key + self.scale.at_or_after(limit - reach)
        position = self.position[place]
        # A place before the first is that of no row, though it reads like the last one's.
        found = (place >= 0) & (self.keys[place] >= lowest)
        beyond = np.flatnonzero(found & (self.second[position] > second_limit))
        if len(beyond):
            earlier = last_at_or_below(self.minima, place[beyond], second_limit[beyond])
            found[beyond] = (earlier >= 0) & (self.keys[earlier] >= lowest[beyond])
            position[beyond] = self.position[earlier]
        matches = np.empty_like(asked)
        matches[asked] = np.where(found, position, -1)
        return matches

    @cached_property
    def minima(self) -> list[Integers]:
        """The second times in order, as `last_at_or_below` asks for them."""
        return minima_of(self.second[self.position])


def minima_of(values: Integers) -> list[Integers]:
    """The values, the smaller of every two neighbours, of every two of those, and so on up to the smallest of all."""
    levels = [values]
    while len(levels[-1]) > 1:
        padded = np.append(levels[-1], np.full(len(levels[-1]) % 2, np.iinfo(np.int64).max))
        levels.append(padded.reshape(-1, 2).min(axis=1))
    return levels


def last_at_or_below(minima: list[Integers], before: Integers, limits: Integers) -> Integers:
    """For each limit the last place before `before` whose value is at or below it, or -1; `minima` are the values'.

    Each question climbs until a neighbour on the left holds an answer, and descends to the last one in it: in all
    twice the logarithm of the number of values.
    """
    node, height = before.copy(), np.full(len(before), -1)
    climbing = np.arange(len(before))
    for level, smallest in enumerate(minima):
        left = (node[climbing] % 2 == 1) & (smallest[node[climbing] - 1] <= limits[climbing])
        height[climbing[left]] = level
        node[climbing[left]] -= 1
        climbing = climbing[~left]
        node[climbing] //= 2
    for level in range(len(minima) - 1, 0, -1):
        inside = np.flatnonzero(height >= level)
        right = np.minimum(2 * node[inside] + 1, len(minima[level - 1]) - 1)
        node[inside] = np.where(minima[level - 1][right] <= limits[inside], right, 2 * node[inside])
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

    def numbers(self, times: Integers) -> Integers:
        """The number of each of the instants that the scale is made of."""
        return times - self.origin if self.instants is None else np.searchsorted(self.instants, times)

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
