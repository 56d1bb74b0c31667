"""What runs tasks on other machines: Ray, Slurm through submitit, or nothing but this process."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from metalearn.experiments import _store

GRACE = 60.0  # seconds in which tasks may save after Ctrl-C


class Died(Exception):
    """A worker died before its task had ended: killed, out of memory, or its machine is gone."""


class Engine(Protocol):
    """Runs functions elsewhere; three methods and one for Ctrl-C.

    Example:
        >>> from metalearn.runs.engines import InTurn
        >>> engine = InTurn()
        >>> engine.result(engine.submit(max, 2, 3))
        3
    """

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Begin a task, and return what stands for it."""

    def finished(self, tasks: Sequence[Any]) -> list[Any]:
        """Wait until at least one of the tasks has ended, and return those that have."""

    def result(self, task: Any) -> Any:
        """Return what a task returned; raise :class:`Died` if its worker did."""

    def cancel(self, tasks: Sequence[Any]) -> None:
        """Ask tasks to save and stop, and wait for a minute at most."""


class InTurn:
    """Does one task after another in this process.

    Example:
        >>> from metalearn.runs.engines import InTurn
        >>> engine = InTurn()
        >>> engine.result(engine.submit(sum, [1, 2]))
        3
    """

    def __init__(self) -> None:
        self._results: dict[int, Any] = {}

    def submit(self, function: Callable[..., Any], *arguments: Any) -> int:
        """Do the task at once."""
        self._results[len(self._results)] = function(*arguments)
        return len(self._results) - 1

    def finished(self, tasks: Sequence[int]) -> list[int]:
        """Return all tasks."""
        return list(tasks)

    def result(self, task: int) -> Any:
        """Return what the task returned."""
        return self._results[task]

    def cancel(self, tasks: Sequence[int]) -> None:
        """Do nothing: none is running."""


class _Ray:
    """Tasks of a Ray cluster; each has so many processors, and a GPU where the cluster has some."""

    def __init__(self, ray: Any, threads: int) -> None:
        self.ray = ray
        n_gpus = 1 if ray.cluster_resources().get("GPU") else 0
        self.options = {"num_cpus": threads, "num_gpus": n_gpus, "max_retries": 0}  # run_many begins again, and counts

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Any:
        return self.ray.remote(**self.options)(function).remote(*arguments)

    def finished(self, tasks: Sequence[Any]) -> list[Any]:
        return list(self.ray.wait(list(tasks), num_returns=1)[0])

    def result(self, task: Any) -> Any:
        errors = self.ray.exceptions
        try:
            return self.ray.get(task)
        except (
            errors.WorkerCrashedError,
            errors.NodeDiedError,
            errors.OutOfMemoryError,
            errors.ObjectLostError,
        ) as error:
            raise Died(f"its worker died ({type(error).__name__})") from error

    def cancel(self, tasks: Sequence[Any]) -> None:
        for task in tasks:
            self.ray.cancel(task)
        if tasks:
            self.ray.wait(list(tasks), num_returns=len(tasks), timeout=GRACE)


@contextmanager
def ray_cluster(address: str = "local", n_workers: int | None = None, threads: int = 1) -> Iterator[Engine]:
    """Run tasks on a Ray cluster: on one that is there, or on workers of this machine.

    Workers of this machine talk over its loopback address only: no dashboard, no statistics, no requests for the data
    of a cloud machine; they end with the context.

    Args:
        address: ``"local"``, or the address of a cluster (``"auto"`` on one of its machines, ``"host:port"``).
        n_workers: Tasks at a time on this machine; by default as many as it has processors.
        threads: Processors of each task.

    Raises:
        ImportError: If Ray is not installed.
        ConnectionError: If there is no cluster at the address.

    Example:
        >>> from metalearn.runs.engines import ray_cluster
        >>> with ray_cluster("local", n_workers=2) as engine:  # doctest: +SKIP
        ...     engine.result(engine.submit(max, 2, 3))
        3
    """
    before = dict(os.environ)
    with tempfile.TemporaryDirectory(prefix="ray", ignore_cleanup_errors=True) as scratch:
        try:
            if address == "local":
                os.environ.update(_apart_from_the_user(Path(scratch)))
            os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
            ray = _import_ray()
            how: dict[str, Any] = {"address": address, "log_to_driver": False}
            if address == "local":
                n_cpus = threads * n_workers if n_workers else os.cpu_count()
                how |= {"num_cpus": n_cpus, "include_dashboard": False, "_node_ip_address": "127.0.0.1"}
                how |= {"_temp_dir": str(Path(scratch, "s"))}
            ray.init(logging_level="error", **how)
            try:
                yield _Ray(ray, threads)
            finally:
                ray.shutdown()
        finally:
            os.environ.clear()
            os.environ.update(before)


def _apart_from_the_user(home: Path) -> dict[str, str]:
    """Return the environment of a local cluster, which neither asks for a cloud nor writes into the user's folder."""
    (home / "ray_bootstrap_config.yaml").write_text("{}\n")  # with it, Ray does not ask which cloud this is
    cache = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    kept = {
        "XDG_CACHE_HOME": cache,
        "METALEARN_RUNS": str(_store.runs_folder()),
    }  # found from the home folder otherwise
    return {**kept, "HOME": str(home), "RAY_AUTH_MODE": "disabled"}


def _import_ray() -> Any:
    try:
        import ray
    except ImportError as error:
        raise ImportError("Ray is not installed: pip install 'metalearn-book[ray]', or use --only i/n") from error
    return ray


class _Slurm:
    """Jobs of submitit."""

    def __init__(self, executor: Any, errors: Any) -> None:
        self.executor, self.errors = executor, errors

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Any:
        return self.executor.submit(function, *arguments)

    def finished(self, tasks: Sequence[Any]) -> list[Any]:
        while not (done := [job for job in tasks if job.done()]):
            time.sleep(1)
        return done

    def result(self, task: Any) -> Any:
        try:
            return task.result()
        except self.errors.UncompletedJobError as error:
            raise Died(f"its job {task.job_id} ended without an answer (see {task.paths.stderr})") from error

    def cancel(self, tasks: Sequence[Any]) -> None:
        for job in tasks:
            job.cancel()


def slurm(folder: str | Path, options: Mapping[str, Any] | None = None) -> Engine:
    """Run tasks as jobs of Slurm, by submitit.

    Args:
        folder: For scripts and logs, on a disk that all machines share.
        options: Of submitit's ``update_parameters``, such as ``{"timeout_min": 600, "slurm_partition": "cpu"}``;
            ``{"cluster": "local"}`` takes processes of this machine in place of Slurm.

    Raises:
        ImportError: If submitit is not installed.
        ValueError: If an option is unknown, or Slurm is not here.

    Example:
        >>> from metalearn.runs.engines import slurm
        >>> engine = slurm("jobs", {"timeout_min": 600, "slurm_partition": "cpu"})  # doctest: +SKIP
    """
    try:
        import submitit
    except ImportError as error:
        raise ImportError("submitit is not installed: pip install submitit, or use --only i/n in a script") from error
    options = dict(options or {})
    try:
        executor = submitit.AutoExecutor(folder, cluster=options.pop("cluster", "slurm"))
        executor.update_parameters(**options)
    except (RuntimeError, NameError) as error:
        raise ValueError(f"Slurm cannot be used so: {error}") from error
    return _Slurm(executor, submitit.core.utils)
