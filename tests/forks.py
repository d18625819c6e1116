"""`python -m MODULE` in forks of a process that has imported what takes seconds.

Each is a process of its own, with its folder, its streams and its end. Only what Python does before it
runs a module is done once for all of them; where that is what is tested, tests start a Python.
"""

import atexit
import importlib
import json
import os
import resource
import runpy
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Iterable
from pathlib import Path
from typing import NoReturn


class Forks:
    """A process that has imported some modules, in an environment, and commands as forks of it, one at a time."""

    def __init__(self, imported: Iterable[str], environment: dict[str, str]):
        self._streams = tempfile.TemporaryDirectory(prefix="progsem-forks-")
        self._server = subprocess.Popen(
            [sys.executable, __file__, *imported],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            encoding="utf-8",
        )

    def run(
        self, module: str, *arguments: str, cwd: Path, together: bool = False, largest: int = resource.RLIM_INFINITY
    ) -> subprocess.CompletedProcess:
        """Run `python -m module` with these arguments in a folder, unable to write files of more than `largest` bytes.

        What it prints is text; with `together`, errors are among the output, in order.
        """
        streams = [str(Path(self._streams.name, name)) for name in (("out", "out") if together else ("out", "error"))]
        request = {"module": module, "arguments": arguments, "cwd": str(cwd), "streams": streams, "largest": largest}
        self._server.stdin.write(json.dumps(request) + "\n")
        self._server.stdin.flush()
        status = json.loads(self._server.stdout.readline())
        output, error = (Path(path).read_text(encoding="utf-8") for path in streams)
        return subprocess.CompletedProcess([module, *arguments], status, output, "" if together else error)

    def close(self) -> None:
        """End the process."""
        self._server.communicate()
        self._streams.cleanup()


def serve() -> None:
    """Import the modules that the command line names, then run each request in a fork; prints its status."""
    for module in sys.argv[1:]:
        importlib.import_module(module)
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            become(**json.loads(line))
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


def become(module: str, arguments: list[str], cwd: str, streams: list[str], largest: int) -> NoReturn:
    """Run a module in this process as Python does that is told to at its start, and end the process."""
    os.chdir(cwd)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for number, path in enumerate(dict.fromkeys(streams), start=1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), number)
    if streams[0] == streams[1]:
        os.dup2(1, 2)
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest, resource.RLIM_INFINITY))
    sys.argv[1:] = arguments
    sys.path[0] = cwd
    status = 1
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
        status = 0
    except SystemExit as end:
        status = end.code or 0
    except BaseException:
        traceback.print_exc()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)  # to take apart what has been imported would take Python a second


if __name__ == "__main__":
    serve()
