"""`python -m MODULE` in forks of a process that has imported what takes seconds.

Each is a process of its own, with its folder, its environment, its streams and its end. Only what Python does
before it runs a module is done once for all of them; where that is what is tested, tests start a Python.

    python forks.py serve SOCKET KEPT MODULE...  import the modules, and serve
    python forks.py ask SOCKET MODULE ...        have a module run, with this process's streams; ends as it does
"""

import array
import atexit
import importlib
import json
import os
import resource
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Iterable
from pathlib import Path
from typing import NoReturn


class Forks:
    """A process that has imported some modules, in an environment, and commands as forks of it.

    With `fresh`, modules of progsem are imported by each command for itself, from where it finds them.
    """

    def __init__(self, imported: Iterable[str], environment: dict[str, str], fresh: bool = False):
        self._folder = tempfile.TemporaryDirectory(prefix="progsem-forks-")
        self._environment = environment
        self.socket = Path(self._folder.name, "socket")
        self._server = subprocess.Popen(
            [sys.executable, __file__, "serve", self.socket, "fresh" if fresh else "kept", *imported],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self._serves = False

    def wait(self) -> None:
        """Return once the process serves."""
        if not self._serves:
            self._serves = self._server.stdout.readline() == b"serving\n"
            assert self._serves, "what was to be imported cannot be"

    def run(
        self, module: str, *arguments: str, cwd: Path, together: bool = False, largest: int = resource.RLIM_INFINITY
    ) -> subprocess.CompletedProcess:
        """Run `python -m module` with these arguments in a folder, unable to write files of more than `largest` bytes.

        What it prints is text; with `together`, errors are among the output, in order.
        """
        self.wait()
        with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as error, open(os.devnull, "rb") as nothing:
            streams = [one.fileno() for one in (nothing, output, output if together else error)]
            status = ask(self.socket, module, arguments, str(cwd), self._environment, streams, largest)
            said = []
            for stream in (output, error):
                stream.seek(0)
                said.append(stream.read().decode())
        return subprocess.CompletedProcess([module, *arguments], status, said[0], "" if together else said[1])

    def close(self) -> None:
        """End the process."""
        self._server.communicate()
        self._folder.cleanup()


def instead_of_python(forks: Forks) -> Path:
    """A file for `BASH_ENV` to name: in shells, `python -m progsem` asks these forks."""
    forks.wait()
    file = forks.socket.with_name("instead_of_python")
    ask = f'{sys.executable} -ISE {__file__} ask {forks.socket} "${{@:2}}"'
    text = f'if [[ "${{1-}} ${{2-}}" == "-m progsem" ]]; then {ask}; else command python "$@"; fi'
    file.write_text(f"python() {{ {text}; }}\n", encoding="utf-8")
    return file


def ask(
    place: Path,
    module: str,
    arguments: Iterable[str],
    cwd: str,
    environment: dict[str, str],
    streams: list[int],
    largest: int = resource.RLIM_INFINITY,
) -> int:
    """The status with which a module ends, -N where signal N ends it; streams are open files: input, output, errors."""
    request = {"module": module, "arguments": list(arguments), "cwd": cwd, "environment": environment}
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(place))
        files = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", streams))
        connection.sendmsg([b"\0"], [files])
        connection.sendall(json.dumps(request | {"largest": largest}).encode())
        connection.shutdown(socket.SHUT_WR)
        return int(connection.makefile().read())


def serve(place: str, kept: str, *modules: str) -> None:
    """Import the modules, then run each request in a fork until standard input ends."""
    for module in modules:
        importlib.import_module(module)
    if "numba" in sys.modules:
        sys.modules["numba"].njit(lambda: 0)()  # it imports half of itself when it first compiles
    if kept == "fresh":
        for name in [name for name in sys.modules if name.split(".")[0] == "progsem"]:
            del sys.modules[name]
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(place)
        listening.listen()
        print("serving", flush=True)
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the forks that do
        while sys.stdin not in select.select([listening, sys.stdin], [], [])[0]:
            connection, _ = listening.accept()
            if os.fork() == 0:
                listening.close()
                answer(connection)
            connection.close()


def answer(connection: socket.socket) -> NoReturn:
    """Run what is asked for in a fork, say how it ended, and end this process."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    _, streams, *_ = socket.recv_fds(connection, 1, 3)
    request = json.loads(connection.makefile("rb").read())
    child = os.fork()
    if child == 0:
        connection.close()
        become(streams=streams, **request)
    for stream in streams:
        os.close(stream)
    connection.sendall(str(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])).encode())
    os._exit(0)


def become(
    module: str, arguments: list[str], cwd: str, environment: dict[str, str], streams: list[int], largest: int
) -> NoReturn:
    """Run a module in this process as Python does that is told to at its start, and end the process."""
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
    os.closerange(3, max(streams) + 1)
    # Whether they can be read again from the start, what stood for the streams so far was told when it was made.
    said = {"encoding": sys.stdout.encoding, "closefd": False}
    sys.stdin = sys.__stdin__ = open(0, **said)
    sys.stdout = sys.__stdout__ = open(1, "w", **said)
    sys.stderr = sys.__stderr__ = open(2, "w", buffering=1, errors="backslashreplace", **said)
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest, resource.RLIM_INFINITY))
    sys.argv[1:] = arguments
    first = [] if environment.get("PYTHONSAFEPATH") else [cwd]
    sys.path[:1] = [*first, *filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))]
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
    what, socket_path, *rest = sys.argv[1:]
    if what == "serve":
        serve(socket_path, *rest)
    else:
        ended = ask(socket_path, rest[0], rest[1:], os.getcwd(), dict(os.environ), [0, 1, 2])
        sys.exit(ended if ended >= 0 else 128 - ended)
