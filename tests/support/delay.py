"""A slow link between two network namespaces: a device `slow0` in each, and so many milliseconds each way.

    delay.py NAMESPACE NAMESPACE MILLISECONDS

Says `ready` once both devices are there. What `tc netem` does, where a kernel has not that."""

import collections
import ctypes
import fcntl
import os
import select
import struct
import sys
import time

CLONE_NEWNET = 0x40000000
TUNSETIFF = 0x400454CA
IFF_TUN, IFF_NO_PI = 0x0001, 0x1000

libc = ctypes.CDLL(None, use_errno=True)


def device(namespace):
    """A device of packets, in that namespace."""
    with open(f"/run/netns/{namespace}", "rb") as network:
        if libc.setns(network.fileno(), CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "setns")
    tun = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(tun, TUNSETIFF, struct.pack("16sH", b"slow0", IFF_TUN | IFF_NO_PI))
    return tun


def main():
    ends = [device(sys.argv[1]), device(sys.argv[2])]
    delay = int(sys.argv[3]) / 1000
    other = {ends[0]: ends[1], ends[1]: ends[0]}
    waiting = collections.deque()
    print("ready", flush=True)
    while True:
        now = time.monotonic()
        while waiting and waiting[0][0] <= now:
            _, to, packet = waiting.popleft()
            try:
                os.write(to, packet)
            except OSError:
                pass  # the device is down, or full: a packet is lost
        pause = max(0, waiting[0][0] - now) if waiting else None
        readable, _, _ = select.select(ends, [], [], pause)
        for end in readable:
            try:
                packet = os.read(end, 65536)
            except BlockingIOError:
                continue
            waiting.append((time.monotonic() + delay, other[end], packet))


if __name__ == "__main__":
    main()
