"""Programs that tests need and Debian has: fetched where that is possible, as root."""

import os
import shutil
import subprocess


def install(*packages: str) -> str:
    """Fetch packages with apt-get; returns the last thing that it said."""
    if os.geteuid() != 0:
        return "only root may"
    if not shutil.which("apt-get"):
        return "there is no apt-get"
    said = "nothing"
    for command in (["update", "-qq"], ["install", "-qq", "--yes", "--no-install-recommends", *packages]):
        try:
            done = subprocess.run(
                ["apt-get", "-o", "Acquire::Retries=1", "-o", "Acquire::http::Timeout=20", *command],
                env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                encoding="utf-8",
                errors="replace",
                timeout=180,
            )
        except subprocess.TimeoutExpired:
            return f"apt-get {command[0]} took longer than 180 s"
        said = (done.stdout.strip().splitlines() or ["nothing"])[-1]
    return said
