"""The frame format: what damage costs."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from exporters.segments import HEADER_BYTES, MAGIC, encode, scan

EVERYTHING = 1 << 30
BODIES = st.lists(st.one_of(st.binary(max_size=40), st.just(MAGIC * 3)), min_size=1, max_size=8)


def test_frames_come_back_as_they_went_in() -> None:
    found = scan(encode([b"one", b"", b"three"]), final=True, max_frames=9, max_bytes=EVERYTHING)
    assert (found.frames, found.consumed, found.corrupt) == ([b"one", b"", b"three"], 56, 0)


def test_limits_stop_in_front_of_a_frame_but_never_in_front_of_the_first() -> None:
    data = encode([b"aaaa", b"bbbb", b"cccc"])
    assert scan(data, final=True, max_frames=2, max_bytes=EVERYTHING).frames == [b"aaaa", b"bbbb"]
    assert scan(data, final=True, max_frames=9, max_bytes=1).frames == [b"aaaa"]


def test_a_frame_cut_by_the_block_is_left_for_the_next_block() -> None:
    data = encode([b"aaaa", b"bbbb"])
    found = scan(data[:-1], final=False, max_frames=9, max_bytes=EVERYTHING)
    assert (found.frames, found.consumed, found.corrupt) == ([b"aaaa"], 20, 0)


def test_garbage_between_frames_is_skipped_and_counted_once() -> None:
    data = encode([b"one"]) + b"garbage" + MAGIC + b"more garbage, longer than a header" + encode([b"two"])
    found = scan(data, final=True, max_frames=9, max_bytes=EVERYTHING)
    assert (found.frames, found.consumed, found.corrupt) == ([b"one", b"two"], len(data), 1)


@given(bodies=BODIES, data=st.data())
def test_a_flipped_byte_costs_at_most_the_frame_it_is_in(bodies: list[bytes], data: st.DataObject) -> None:
    raw = bytearray(encode(bodies))
    place = data.draw(st.integers(0, len(raw) - 1))
    raw[place] ^= data.draw(st.integers(1, 255))
    ends = [len(encode(bodies[: count + 1])) for count in range(len(bodies))]
    touched = next(index for index, end in enumerate(ends) if place < end)
    found = scan(bytes(raw), final=True, max_frames=99, max_bytes=EVERYTHING)
    survivors = bodies[:touched] + bodies[touched + 1 :]
    in_header_checksum = 12 <= place - (ends[touched] - len(bodies[touched]) - HEADER_BYTES) < 16
    assert (found.frames, found.corrupt) == ((bodies, 0) if in_header_checksum else (survivors, 1))


@given(bodies=BODIES, data=st.data())
def test_a_truncated_tail_costs_only_the_torn_frame(bodies: list[bytes], data: st.DataObject) -> None:
    raw = encode(bodies)
    length = data.draw(st.integers(0, len(raw)))
    whole = [body for count, body in enumerate(bodies) if len(encode(bodies[: count + 1])) <= length]
    found = scan(raw[:length], final=True, max_frames=99, max_bytes=EVERYTHING)
    torn = int(length != len(encode(whole)))
    assert (found.frames, found.consumed, found.corrupt) == (whole, length, torn)


@given(bodies=BODIES, block=st.integers(1, 200))
def test_reading_in_blocks_of_any_size_gives_the_same_frames(bodies: list[bytes], block: int) -> None:
    raw = encode(bodies)
    frames: list[bytes] = []
    position, size = 0, block
    while position < len(raw):
        piece = raw[position : position + size]
        found = scan(piece, final=position + size >= len(raw), max_frames=99, max_bytes=EVERYTHING)
        frames += found.frames
        position += found.consumed
        size = block if found.consumed else size * 2
    assert frames == bodies
