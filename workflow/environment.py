"""Make the environment that `.venv` leads to: run by make, which says on standard input what it is made from.

`.venv` stands beside `requirements.lock`, in this folder or in the one that is given. Every environment has a folder of
its own in `.venvs`, for the scripts in it hold its path. Once it is whole nothing
changes it: what runs from an earlier one goes on undisturbed, and a lock that comes back finds its own again.
"""

import fcntl
import hashlib
import os
import subprocess
import sys
from pathlib import Path

PLACE = Path(*sys.argv[1:])
LOCK, LINK, FOLDERS = PLACE / "requirements.lock", PLACE / ".venv", PLACE / ".venvs"


def main() -> None:
    made_from = sys.stdin.buffer.read()
    folder = FOLDERS / hashlib.sha256(made_from).hexdigest()[:8]
    FOLDERS.mkdir(exist_ok=True)
    with open(FOLDERS / "lock", "wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # of two that make it at the same time, the second finds it made
        stamp = folder / "stamp"
        if not stamp.is_file():
            print(f"making {LINK} from {LOCK} (a minute or two)", flush=True)
            python = folder / "bin" / "python"
            install = [python, "-m", "pip", "install", "-qq"]
            run(sys.executable, "-m", "venv", "--clear", folder)
            run(*install, "--requirement", LOCK)
            run(*install, "--no-deps", "--no-build-isolation", "--editable", ".")
            run(python, "-m", "compileall", "-q", "src")  # so that what only looks writes nothing
            stamp.write_bytes(made_from)
            others = sorted(str(path) for path in FOLDERS.iterdir() if path.is_dir() and path != folder)
            if others:
                print(f"earlier environments, which may be deleted when nothing runs from them: {' '.join(others)}")
        if LINK.is_dir() and not LINK.is_symlink():
            LINK.rename(FOLDERS / f"earlier-{os.getpid()}")  # a folder of somebody's own
        new = FOLDERS / "link"
        new.unlink(missing_ok=True)
        new.symlink_to(folder.relative_to(PLACE))
        new.replace(LINK)


def run(*command: str | Path) -> None:
    """Run a command, which says itself what goes wrong; then this process ends as well."""
    status = subprocess.run(command).returncode
    if status:
        sys.exit(status)


if __name__ == "__main__":
    main()
