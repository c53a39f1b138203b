"""`--costs`: what each test file costs in wall and processor time, compilation and memory.

Without xdist it counts this process; with it, each worker counts its own and all are summed.
"""

import collections
import os
import time

import jax.monitoring
import pytest
from memory import most_resident, resident

COLUMNS = {
    "wall": "seconds",
    "cpu": "processor seconds of the worker and of the processes that it waited for",
    "children": "of these, the processes",
    "trace": "seconds of tracing",
    "lower": "seconds of lowering",
    "compile": "seconds of XLA's compiler, or of reading the cache",
    "programs": "programs asked for",
    "hits": "of these, read from the cache",
    "rss": "resident MB of the worker after the file, at most",
}
_DURATIONS = {
    "/jax/core/compile/jaxpr_trace_duration": "trace",
    "/jax/core/compile/jaxpr_to_mlir_module_duration": "lower",
    "/jax/core/compile/backend_compile_duration": "compile",
}


class Costs:
    """Counts by file; a plugin of a worker, or of the one process."""

    def __init__(self):
        self.files = collections.defaultdict(lambda: dict.fromkeys(COLUMNS, 0.0))
        self.now = collections.Counter()
        jax.monitoring.register_event_duration_secs_listener(self._lasted)
        jax.monitoring.register_event_listener(self._happened)

    def _lasted(self, name, seconds, **_):
        if column := _DURATIONS.get(name):
            self.now[column] += seconds
            self.now["programs"] += column == "compile"

    def _happened(self, name, **_):
        self.now["hits"] += name == "/jax/compilation_cache/cache_hits"

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item):
        self.now.clear()
        wall, usage = time.perf_counter(), os.times()
        try:
            return (yield)
        finally:
            spent = os.times()
            children = sum(spent[2:4]) - sum(usage[2:4])
            self.now["wall"] += time.perf_counter() - wall
            self.now["children"] += children
            self.now["cpu"] += sum(spent[:2]) - sum(usage[:2]) + children
            row = self.files[item.location[0]]
            for name, value in self.now.items():
                row[name] += value
            row["rss"] = max(row["rss"], resident())


class Table:
    """Prints what one process or all workers counted; a plugin of the process in front."""

    def __init__(self, own=None):
        self.own, self.files, self.workers = own, {}, {}

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node):
        output = getattr(node, "workeroutput", {})
        self.workers[node.gateway.id] = output.get("most_resident", float("nan"))
        self._add(output.get("costs", {}))

    def _add(self, files):
        for name, row in files.items():
            mine = self.files.setdefault(name, dict.fromkeys(COLUMNS, 0.0))
            for column, value in row.items():
                most = column == "rss"
                mine[column] = max(mine[column], value) if most else mine[column] + value

    def pytest_terminal_summary(self, terminalreporter):
        if self.own:
            self._add(self.own.files)
            self.workers["this process"] = most_resident()
        write = terminalreporter.write_line
        terminalreporter.section("costs by file")
        write(" ".join(f"{name:>8}" for name in COLUMNS))
        for name, row in sorted(self.files.items(), key=lambda pair: -pair[1]["cpu"]):
            write(" ".join(f"{row[column]:8.1f}" for column in COLUMNS) + f"  {name}")
        total = {c: sum(row[c] for row in self.files.values()) for c in COLUMNS if c != "rss"}
        write(" ".join(f"{value:8.1f}" for value in total.values()) + f" {'':8}  all files")
        terminalreporter.section("costs")
        used = os.times()
        write(f"processor seconds, all processes: {sum(used[:4]):.0f}")
        for name, megabytes in self.workers.items():
            write(f"most resident MB, {name}: {megabytes:.0f}")


def configure(config: pytest.Config) -> None:
    """Registers the plugins that this process needs; called by `pytest_configure`."""
    if hasattr(config, "workerinput"):
        costs = Costs()
        config.pluginmanager.register(costs, "costs")
        config.pluginmanager.register(_Sender(costs), "costs-sender")
        return
    workers = bool(config.getoption("numprocesses", None))
    costs = None if workers else Costs()
    if costs:
        config.pluginmanager.register(costs, "costs")
    config.pluginmanager.register(Table(costs), "costs-table")


class _Sender:
    """Hands a worker's counts to the process in front."""

    def __init__(self, costs):
        self.costs = costs

    def pytest_sessionfinish(self, session):
        output = session.config.workeroutput
        output["costs"] = {name: dict(row) for name, row in self.costs.files.items()}
        output["most_resident"] = most_resident()
