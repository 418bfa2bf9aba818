"""The unit and the socket: that systemd reads them as they are meant, and what they leave open."""

import re
import subprocess
import unittest

from support import DEPLOY, InFolder, needs, ran


def systemd_version() -> int:
    return int(re.search(r"systemd (\d+)", ran("systemd-analyze", "--version")).group(1))


@needs("EVENKEEL_SYSTEMD", "systemd-analyze")
class Unit(InFolder):
    def setUp(self) -> None:
        super().setUp()
        for name in ("evenkeel.service", "evenkeel.socket"):
            text = (DEPLOY / name).read_text()
            # It need not be installed here to be checked.
            text = text.replace("/usr/bin/evenkeel", "/bin/true")
            (self.folder / name).write_text(text)

    def verified(self, name: str) -> list[str]:
        command = ["systemd-analyze", "verify", "--man=no", str(self.folder / name)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        said = (done.stdout + done.stderr).splitlines()
        # Of other units that this machine has.
        return [line for line in said if "evenkeel" in line]

    def test_systemd_understands_every_line(self) -> None:
        for name in ("evenkeel.service", "evenkeel.socket"):
            said = self.verified(name)
            if systemd_version() < 253:
                # The one before it is taken then.
                said = [line for line in said if not line.endswith("ignoring: notify-reload")]
            self.assertEqual(said, [], name)

    def test_a_line_that_is_not_understood_is_found(self) -> None:
        path = self.folder / "evenkeel.service"
        path.write_text(path.read_text().replace("NoNewPrivileges=yes", "NoNewPrivilege=yes"))
        self.assertTrue(any("NoNewPrivilege" in line for line in self.verified("evenkeel.service")))

    def exposed(self) -> bool:
        """Whether more is left open than may be."""
        command = ["systemd-analyze", "security", "--offline=true", "--no-pager"]
        done = subprocess.run(
            [*command, f"--threshold={THRESHOLD}", str(self.folder / "evenkeel.service")],
            capture_output=True, text=True, check=False,
        )
        self.assertIn("Overall exposure level", done.stdout, done.stderr)
        return done.returncode != 0

    def test_little_is_left_open(self) -> None:
        self.assertFalse(self.exposed())

    def test_one_line_less_is_found(self) -> None:
        path = self.folder / "evenkeel.service"
        path.write_text(path.read_text().replace("ProtectSystem=strict\n", ""))
        self.assertTrue(self.exposed())


# In tenths of systemd's measure. What is left is what a proxy needs: networks, Unix sockets, low ports,
# and what /proc says of the machine.
THRESHOLD = 17

if __name__ == "__main__":
    unittest.main()
