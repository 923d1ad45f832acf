"""Keeping connections from being made to a socket that is about to be closed, without closing it.

Whoever is in the queue of a listening socket when it is closed gets a reset, and others come while
it is being emptied. So the kernel is told to drop the first packet of any further connection
(SYN): the client sends it again after a second, and is refused then, or reaches the next server.
"""

import contextlib
import ctypes
import socket
import struct
import sys
from typing import Any

HANDSHAKE_SECONDS = 0.1
"""How long those take to arrive in the queue whose first packet was there before."""
SO_ATTACH_FILTER = 26
"""From <asm/socket.h>."""
_FLAGS_OF_TCP = 13
_SYN = 2
_PROGRAM = b"".join(
    struct.pack("HBBI", *instruction)
    for instruction in (
        (0x30, 0, 0, _FLAGS_OF_TCP),  # load that byte
        (0x45, 0, 1, _SYN),  # go on where the bit is set, else skip one
        (0x06, 0, 0, 0),  # drop
        (0x06, 0, 0, 0xFFFFFFFF),  # take all of it
    )
)


def turn_away(listener: Any) -> None:
    """Let nobody connect any more, where the system offers that (Linux). It holds for every process
    that has this socket."""
    if sys.platform != "linux":
        return
    program = ctypes.create_string_buffer(_PROGRAM, len(_PROGRAM))
    described = struct.pack("HP", len(_PROGRAM) // 8, ctypes.addressof(program))
    with contextlib.suppress(OSError):
        listener.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, described)
