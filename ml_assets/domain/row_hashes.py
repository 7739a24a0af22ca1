"""Hashes of rows that no library has a say in: the same values give the same hash for ever.

What belongs here: each value as 64-bit words, the words of a row mixed into two 64-bit hashes.
What does not: what a hash says about a day (`content.py`).

A number is one word: its two's complement, or its IEEE bits in double precision, where every NaN is one value and −0 is
0. A text of n bytes is the words of n (32 bits) and its bytes, padded with zeros; beyond 64 bytes the word of n and the
first four bytes, then the BLAKE2b digest of all. Instants, dates and truth values are the integers that store them.

Each word adds (low half + a) · (high half + b) modulo 2^64 to each of two sums, with a and b drawn from the column's
name and the word's place: multilinear hashing, of which two different rows collide in one sum with a chance of about
2^-33 and in both of 2^-66 (Lemire and Kaser, "Strongly universal string hashing is fast", 2014). A finaliser then
spreads both sums over all bits, so that hashes of rows may be added up.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import blake2b, sha256
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from ml_assets.domain.errors import ContentError

Words = npt.NDArray[np.uint64]
Mask = npt.NDArray[np.bool_]
Lengths = npt.NDArray[np.int64]

TEXT_BYTES = 64
_BLOCK_ROWS = 16_384
_INLINE_BYTES, _PREFIX_BYTES, _WORD_BYTES = 12, 4, 8
_HALF, _LOW_HALF = np.uint64(32), np.uint64(2**32 - 1)
_NAN = np.float64(np.nan).view(np.uint64)
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
# A word of which only the first bytes count, by their number.
_FIRST_BYTES = np.array([(1 << (8 * count)) - 1 for count in range(_WORD_BYTES + 1)], np.uint64)
_AS_TEXT = (pl.Categorical, pl.Enum, pl.Decimal, pl.Int128, pl.UInt128)


@dataclass(frozen=True, slots=True)
class _Word:
    """One word of each of some rows; rows without it count `otherwise` (1, for null) or nothing (0)."""

    place: int
    values: npt.NDArray[Any]
    absent: Mask | None = None
    null: bool = False


# The words of rows [start, end) of a column.
_Column = Callable[[int, int], Iterator[_Word]]


def row_hashes(frame: pl.DataFrame) -> tuple[Words, Words]:
    """Two 64-bit hashes of each row, by the names and values of its columns; their order counts for nothing.

    Raises ContentError for a column of a type that has no value of its own (Python objects).
    """
    columns = [(_Keys(name), _words_of(name, frame[name].rechunk())) for name in frame.columns]
    first, second = np.empty(frame.height, np.uint64), np.empty(frame.height, np.uint64)

    def block(start: int) -> None:
        end = min(start + _BLOCK_ROWS, frame.height)
        first[start:end], second[start:end] = _hashed(columns, start, end)

    starts = range(0, frame.height, _BLOCK_ROWS)
    if len(starts) == 1:
        block(0)
    elif starts:
        with ThreadPoolExecutor(pl.thread_pool_size()) as threads:
            list(threads.map(block, starts))
    return first, second


def type_name(dtype: Any) -> str:
    """A type's name that does not depend on how a library prints it."""
    kind = type(dtype).__name__
    if isinstance(dtype, pl.List | pl.Array):
        return f"{kind}[{type_name(dtype.inner)}]"
    if isinstance(dtype, pl.Struct):
        return f"{kind}[{','.join(f'{each.name}:{type_name(each.dtype)}' for each in dtype.fields)}]"
    if isinstance(dtype, pl.Datetime):
        return f"{kind}[{dtype.time_unit},{dtype.time_zone or ''}]"
    if isinstance(dtype, pl.Duration):
        return f"{kind}[{dtype.time_unit}]"
    if isinstance(dtype, pl.Decimal):
        return f"{kind}[{dtype.precision},{dtype.scale}]"
    return kind


def spread(words: Words) -> Words:
    """Each word mixed so that every bit of it moves every bit of the result (splitmix64's finaliser)."""
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))


class _Keys:
    """What the words of a column are mixed with: a and b of each sum by the word's place, and what a null adds."""

    def __init__(self, column: str) -> None:
        self._column = column
        self._drawn: dict[int, list[np.uint64]] = {}
        self.null = self._draw("null")[:2]

    def of(self, place: int) -> list[np.uint64]:
        """a and b of the first sum, a and b of the second."""
        if place not in self._drawn:
            self._drawn[place] = self._draw(place)
        return self._drawn[place]

    def _draw(self, place: object) -> list[np.uint64]:
        return list(np.frombuffer(sha256(f"{self._column}|{place}".encode()).digest(), "<u8").astype(np.uint64))


def _hashed(columns: list[tuple[_Keys, _Column]], start: int, end: int) -> tuple[Words, Words]:
    rows = end - start
    sums = [np.zeros(rows, np.uint64), np.zeros(rows, np.uint64)]
    word, low, high, product = (np.empty(rows, np.uint64) for _ in range(4))
    for keys, words_of in columns:
        for each in words_of(start, end):
            _as_bits(each.values, word)
            np.bitwise_and(word, _LOW_HALF, out=low)
            np.right_shift(word, _HALF, out=high)
            drawn = keys.of(each.place)
            for at, total in enumerate(sums):
                np.add(low, drawn[2 * at], out=product)
                np.add(high, drawn[2 * at + 1], out=word)
                np.multiply(product, word, out=product)
                if each.absent is not None:
                    product[each.absent] = keys.null[at] if each.null else 0
                np.add(total, product, out=total)
    return spread(sums[0] ^ (sums[1] >> _HALF)), spread(sums[1] ^ (sums[0] >> _HALF))


def _as_bits(values: npt.NDArray[Any], out: Words) -> None:
    if values.dtype.kind != "f":
        np.copyto(out, values, casting="unsafe")
        return
    floats = out.view(np.float64)
    np.add(values, 0.0, out=floats)
    nan = np.isnan(floats)
    if nan.any():
        out[nan] = _NAN


def _words_of(name: str, values: pl.Series) -> _Column:
    dtype = values.dtype
    if isinstance(dtype, pl.Null):
        return _numbers(pl.repeat(None, len(values), dtype=pl.Int64, eager=True))
    if isinstance(dtype, _AS_TEXT):
        return _texts(values.cast(pl.String))
    if isinstance(dtype, pl.String | pl.Binary):
        return _texts(values)
    if isinstance(dtype, pl.List | pl.Array):
        return _nested(values, *_of_lists(values))
    if isinstance(dtype, pl.Struct):
        return _nested(values, *row_hashes(values.struct.unnest()))
    if isinstance(dtype, pl.Object):
        raise ContentError(f"column {name!r} holds Python objects, of which nobody can say whether they are the same")
    return _numbers(values)


def _numbers(values: pl.Series) -> _Column:
    absent = values.is_null().to_numpy() if values.null_count() else None
    physical = values.to_physical()
    plain = physical.cast(pl.UInt8) if physical.dtype == pl.Boolean else physical
    numbers = (plain if absent is None else plain.fill_null(0)).to_numpy()

    def words(start: int, end: int) -> Iterator[_Word]:
        yield _Word(0, numbers[start:end], None if absent is None else absent[start:end], null=True)

    return words


def _nested(values: pl.Series, *hashes: Words) -> _Column:
    absent = values.is_null().to_numpy() if values.null_count() else None

    def words(start: int, end: int) -> Iterator[_Word]:
        for place, each in enumerate(hashes):
            yield _Word(place, each[start:end], None if absent is None else absent[start:end], null=place == 0)

    return words


def _of_lists(values: pl.Series) -> tuple[Words, Words, Words]:
    """The length of each list, and two sums over its elements, each mixed with its place."""
    listed = values.arr.to_list() if isinstance(values.dtype, pl.Array) else values
    stored: Any = listed.to_arrow(compat_level=pl.CompatLevel.oldest())
    offsets = stored.offsets.to_numpy()
    lengths = np.diff(offsets)
    elements = pl.Series("", stored.values)[int(offsets[0]) : int(offsets[-1])] if len(offsets) > 1 else None
    if elements is None or elements.is_empty():
        nothing = np.zeros(len(lengths), np.uint64)
        return lengths.astype(np.uint64), nothing, nothing
    starts = offsets[:-1] - offsets[0]
    place = (np.arange(len(elements)) - np.repeat(starts, lengths)).astype(np.uint64)
    sums = []
    for hashes in row_hashes(elements.to_frame()):
        until = np.concatenate(([np.uint64(0)], np.cumsum(spread(hashes + place * _GOLDEN), dtype=np.uint64)))
        sums.append(until[starts + lengths] - until[starts])
    return lengths.astype(np.uint64), sums[0], sums[1]


def _texts(values: pl.Series) -> _Column:
    """Words of texts: a view of Arrow's holds the length and the first four bytes, then the rest of a short text."""
    stored: Any = values.to_arrow(compat_level=pl.CompatLevel.newest())
    views = np.frombuffer(stored.buffers()[1], "<u8").reshape(-1, 2)[stored.offset : stored.offset + len(values)]
    absent = values.is_null().to_numpy() if values.null_count() else None
    lengths = (views[:, 0] & _LOW_HALF).astype(np.int64)
    if absent is not None:
        lengths[absent] = 0
    rest = _rest_of_texts(values, lengths) if lengths.max(initial=0) > _INLINE_BYTES else None

    def words(start: int, end: int) -> Iterator[_Word]:
        null = None if absent is None else absent[start:end]
        yield _Word(0, views[start:end, 0], null, null=True)
        for place, word, missing in rest(start, end) if rest else [(1, views[start:end, 1], None)]:
            yield _Word(place, word, missing if place > 1 else null)

    return words


def _rest_of_texts(values: pl.Series, lengths: Lengths) -> Callable[[int, int], Iterator[tuple[int, Words, Mask]]]:
    """The words after the first where some texts do not fit into Arrow's views: place, words, rows without one."""
    stored = values.cast(pl.Binary)
    long = np.flatnonzero(lengths > TEXT_BYTES)
    digested = [blake2b(each, digest_size=2 * _WORD_BYTES).digest() for each in stored.gather(long)]
    digests = np.frombuffer(b"".join(digested), "<u8").reshape(-1, 2)

    def words(start: int, end: int) -> Iterator[tuple[int, Words, Mask]]:
        inside = slice(*np.searchsorted(long, (start, end)))
        rows = long[inside] - start
        held = lengths[start:end].copy()
        held[rows] = _PREFIX_BYTES + 2 * _WORD_BYTES
        text = _Bytes(stored[start:end])
        places = range(_PREFIX_BYTES, max(int(held.max(initial=0)), _PREFIX_BYTES + 1), _WORD_BYTES)
        for place, at in enumerate(places, start=1):
            word = text.word(at, held)
            if place <= digests.shape[1]:
                word[rows] = digests[inside, place - 1]
            yield place, word, held <= at

    return words


class _Bytes:
    """The bytes of texts, to be read a word at a time."""

    def __init__(self, texts: pl.Series) -> None:
        stored: Any = texts.to_arrow(compat_level=pl.CompatLevel.oldest())
        _, offsets, content = stored.buffers()
        self._starts = np.frombuffer(offsets, np.int64)[stored.offset : stored.offset + len(texts)]
        held = np.frombuffer(content, np.uint8)
        self._words = np.zeros(held.size // _WORD_BYTES + 3, "<u8")
        self._words.view(np.uint8)[: held.size] = held
        self._size = held.size

    def word(self, at: int, held: Lengths) -> Words:
        """The eight bytes from byte `at` of each text, zeros from the end of what is held of it."""
        starts = self._starts + at
        place = np.minimum(starts, self._size) // _WORD_BYTES
        shift = (starts % _WORD_BYTES).astype(np.uint64) * np.uint64(8)
        # Shifting by 64 is undefined, so the upper part is shifted in two steps.
        upper = (self._words[place + 1] << np.uint64(1)) << (np.uint64(63) - shift)
        counted: Words = _FIRST_BYTES[np.clip(held - at, 0, _WORD_BYTES)]
        word: Words = ((self._words[place] >> shift) | upper) & counted
        return word
