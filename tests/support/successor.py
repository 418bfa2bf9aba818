"""A new instance that dawdles: it takes the word to serve, and says that it serves when it may.

It speaks as src/control/upgrade/frame.rs does: a packet each, whose first byte says which it is.
Files beside it, in the directory that is named, tell it when (`go`) and tell of it: `ended` when it
has ended as it was asked to, on the line or by a signal.
"""

import os
import pathlib
import signal
import socket
import sys
import time

beside = pathlib.Path(sys.argv[1])
line = socket.socket(fileno=int(os.environ["EVENKEEL_UPGRADE_FD"]))
line.setblocking(True)


def hear(kind):
    while True:
        packet = line.recv(1 << 18)
        if not packet:
            sys.exit("the line is gone")
        if packet[:1] == kind:
            return


def finish(*_):
    time.sleep(1)  # what still runs
    (beside / "ended").touch()
    os._exit(0)


hear(b"o")
line.send(b'r{"version":"0","takes":[],"notes":[]}')
hear(b"c")
signal.signal(signal.SIGTERM, finish)
(beside / "has-the-word").touch()
line.settimeout(0.02)
while not (beside / "go").exists():
    try:
        heard = line.recv(1 << 18)
        if heard == b"x":
            finish()
        if not heard:
            sys.exit("the line is gone")
    except TimeoutError:
        pass
line.send(b"a")
while True:
    time.sleep(1)
