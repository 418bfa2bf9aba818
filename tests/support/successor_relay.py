"""Stands between the instance that hands over and a real new one, and keeps its last word back.

All packets pass, with their descriptors, but that the new one serves: its process id is written to
`has-the-word` then, and this ends as that one does. The command line behind the directory is what is
started.
"""

import os
import pathlib
import select
import socket
import subprocess
import sys

beside = pathlib.Path(sys.argv[1])
old = socket.socket(fileno=int(os.environ.pop("EVENKEEL_UPGRADE_FD")))
near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
environment = os.environ | {"EVENKEEL_UPGRADE_FD": str(far.fileno())}
new = subprocess.Popen(sys.argv[2:], env=environment, pass_fds=[far.fileno()])
far.close()
old.setblocking(True)

while True:
    for one in select.select([old, near], [], [])[0]:
        packet, descriptors, _, _ = socket.recv_fds(one, 1 << 18, 250)
        if not packet:
            sys.exit(new.wait())
        if packet == b"a":
            (beside / "written").write_text(str(new.pid))
            (beside / "written").rename(beside / "has-the-word")
        elif descriptors:
            socket.send_fds(near, [packet], descriptors)
        else:
            (near if one is old else old).send(packet)
        for descriptor in descriptors:
            os.close(descriptor)
