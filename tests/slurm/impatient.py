"""Snakemake as it is, except that it asks a cluster every second how its jobs are.

Left to itself it waits ten seconds longer each time that no job has ended, which no
option changes; most of a test's time would be that. Run like `python -m snakemake`.
"""

import asyncio
import sys

from snakemake.cli import main
from snakemake_interface_executor_plugins.executors.remote import RemoteExecutor


async def sleep(self) -> None:
    await asyncio.sleep(1)


RemoteExecutor.sleep = sleep
main(sys.argv[1:])
