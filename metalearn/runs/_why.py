"""What an error means to the person who has to mend it: which node, which file, which setting."""

from __future__ import annotations

import errno
import re
from typing import Any


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether memory ran out: Python's, torch's on a processor, or that of a GPU."""
    said = str(error)
    return isinstance(error, MemoryError) or "out of memory" in said or "can't allocate memory" in said


def out_of_memory(error: BaseException) -> str:
    """Return what to do where memory ran out."""
    wanted = re.search(r"[Tt]ried to allocate ([\d.]+ \w+)", str(error))
    said = f"asked for {wanted[1]}" if wanted else type(error).__name__
    return (
        "out of memory: lower --tasks, --query or --way (n_tasks, n_query, n_way in a study); or keep the numbers, and"
        " have fewer tasks in memory at once, --set fit.chunk_size=1 or fit.how=loop, or recompute the inner loop in"
        " place of storing it, --set learner_args.recompute=true"
        f" ({said})"
    )


def on_node(error: BaseException, node: str, data: str | None = None) -> str:
    """Return what went wrong with a part on a node.

    Args:
        error: What was raised there.
        node: Its name.
        data: The source that could not be read, where that was it.
    """
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return (
            f"the disk is full on node {node}: {error.filename or 'a file'} could not be written. Make room there, or"
            " set METALEARN_RUNS to a folder on another disk; the same command goes on from the last checkpoint"
        )
    if is_out_of_memory(error):
        return f"node {node}: {out_of_memory(error)}"
    if data is not None:
        return (
            f"node {node} does not have the data {data}: {error}. Put them in a folder of that node which"
            " METALEARN_DATA names there, and give the same command again"
        )
    where: Any = getattr(error, "filename", None)
    return f"node {node}: {type(error).__name__}: {error}" + (
        f" ({where})" if where and where not in str(error) else ""
    )
