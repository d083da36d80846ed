"""The protocol: messages arrive complete and in order, however the bytes are split."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import pytest

from batchexport.workers.protocol import Channel


@pytest.fixture
def ends() -> Iterator[tuple[Channel, Channel]]:
    ours, theirs = (Channel(end) for end in socket.socketpair())
    yield ours, theirs
    ours.close()
    theirs.close()


def test_a_message_arrives_as_it_was_sent(ends: tuple[Channel, Channel]) -> None:
    message = {"do": "start", "text": "line\nbreak é \udcff", "none": None, "nested": {"a": [1, 2.5, True]}}
    ends[0].send(message)
    assert ends[1].receive() == [message]


def test_messages_that_arrive_together_are_separated(ends: tuple[Channel, Channel]) -> None:
    for number in range(3):
        ends[0].send({"n": number})
    assert ends[1].receive() == [{"n": 0}, {"n": 1}, {"n": 2}]


def test_a_message_that_arrives_in_pieces_is_joined(ends: tuple[Channel, Channel]) -> None:
    for piece in (b'{"n"', b": 1}", b"\n{"):
        ends[0].socket.sendall(piece)
        received = ends[1].receive()
    assert received == [{"n": 1}]
    ends[0].socket.sendall(b"}\n")
    assert ends[1].receive() == [{}]


def test_a_large_message_is_joined(ends: tuple[Channel, Channel]) -> None:
    message = {"text": "x" * 150_000}
    ends[1].socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    ends[0].socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    ends[0].send(message)
    received: list[Any] = []
    while not received:
        received = ends[1].receive() or []
    assert received == [message]


def test_a_closed_end_reads_as_none_after_the_last_message(ends: tuple[Channel, Channel]) -> None:
    ends[0].send({"n": 1})
    ends[0].close()
    assert ends[1].receive() == [{"n": 1}]
    assert ends[1].receive() is None


def test_half_a_message_of_a_killed_end_is_dropped(ends: tuple[Channel, Channel]) -> None:
    ends[0].socket.sendall(b'{"n": 1}\n{"event": "en')
    ends[0].close()
    assert ends[1].receive() == [{"n": 1}]
    assert ends[1].receive() is None


def test_sending_to_a_closed_end_raises_broken_pipe(ends: tuple[Channel, Channel]) -> None:
    ends[1].close()
    with pytest.raises(BrokenPipeError):
        ends[0].send({"n": 1})
