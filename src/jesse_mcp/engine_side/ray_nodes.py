"""The nodes of the cluster: an agent on each that fits, watched, and replaced when it is lost."""

import threading
import time
from collections.abc import Callable
from typing import Any

import ray
from ray._private.state import available_resources_per_node  # of the developer API, without a public name
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
from ray_agent import NodeAgent, installed
from ray_schedule import Schedule

_PLACED_SECONDS = 60.0
_JESSE_SECONDS = 150.0
_LISTEN_SECONDS = 2.0
#: Longer than an agent waits for its processes before it kills them, both.
_CANCEL_SECONDS = 8.0
_CLOSE_SECONDS = 8.0
_TICK_SECONDS = 0.5
_LONGEST_PAUSE_SECONDS = 30.0
#: Calls of an agent that may wait at the same time as it starts runs: one listens, others kill.
_MORE_CALLS = 4
#: Nothing that numbers depend on.
_TOOLS = {"pip", "setuptools", "wheel", "uv"}


class Node:
    """One node of the cluster and what we have there."""

    def __init__(self, node: dict[str, Any]) -> None:
        self.id = str(node["NodeID"])
        self.host = str(node["NodeManagerHostname"])
        self.address = str(node["NodeManagerAddress"])
        self.cpus = int(node["Resources"].get("CPU", 0))
        self.slots = 0
        self.running: set[int] = set()
        self.state = "new"
        self.problem: str | None = None
        self.actor: Any = None
        self.failures = 0
        self.retry_at = 0.0

    @property
    def label(self) -> str:
        return f"{self.host} ({self.id[:8]})"

    def start(self, ticket: int, request: dict[str, Any], candles: dict[str, Any], seconds: float) -> None:
        self.actor.start.remote(ticket, request, candles, seconds)

    def kill(self, ticket: int) -> None:
        self.actor.kill.remote(ticket)

    def facts(self) -> dict[str, Any]:
        return {
            "node": self.id[:8],
            "host": self.host,
            "address": self.address,
            "cpus": self.cpus,
            "runs_at_once": self.slots,
            "state": self.state,
            "problem": self.problem,
        }


class Nodes:
    """Args:
    schedule: told of nodes that come and go.
    code: our modules by file name, for the agents.
    max_runs: at the same time on the whole cluster.
    patience: seconds an agent may be silent, and a cluster without a usable node is waited for.
    changed: called when there is something new in :meth:`facts`.
    """

    def __init__(
        self,
        schedule: Schedule,
        code: dict[str, str],
        max_runs: int,
        kept_bytes: int,
        patience: float,
        changed: Callable[[], None],
    ) -> None:
        self._schedule = schedule
        self._code = code
        self._max_runs = max_runs
        self._kept_bytes = kept_bytes
        self._patience = patience
        self._changed = changed
        self._here = installed()
        self._nodes: dict[str, Node] = {}
        self._lock = threading.RLock()
        self._unusable_since: float | None = None
        self._closed = False

    def watch_for_ever(self, beat: Callable[[], None]) -> None:
        """Args: beat: called each time the cluster has answered."""
        while not self._closed:
            self._look()
            beat()
            for place in self._schedule.stubborn(_CANCEL_SECONDS):
                if isinstance(place, Node):
                    self._lose(place, "a cancelled run did not end there")
            if (problem := self.problem()) is not None:
                self._schedule.refuse_waiting(problem)
            time.sleep(_TICK_SECONDS)

    def facts(self) -> dict[str, Any]:
        with self._lock:
            nodes = [node.facts() for node in self._nodes.values()]
            slots = sum(node.slots for node in self._nodes.values() if node.state == "ready")
            return {"nodes": nodes, "slots": slots, "problem": self.problem()}

    def problem(self) -> str | None:
        """Why no run can be placed, now and without something changing; ``None`` while it can or may soon."""
        with self._lock:
            states = {node.state for node in self._nodes.values()}
            if states & {"ready", "starting"} or self._unusable_since is None:
                return None
            hopeless = bool(states) and states <= {"refused", "no cpu"} and "refused" in states
            if not hopeless and time.monotonic() - self._unusable_since < self._patience:
                return None
            if not self._nodes:
                return "the cluster has no nodes"
            told = [f"{node.label}: {node.problem or node.state}" for node in self._nodes.values()]
            return "no node of the cluster can run it: " + "; ".join(told[:5])

    def close(self) -> None:
        """End every agent, and wait for it, but not long."""
        with self._lock:
            self._closed = True
            actors = [node.actor for node in self._nodes.values() if node.actor is not None]
        closing = [actor.close.remote() for actor in actors]
        if closing:
            ray.wait(closing, num_returns=len(closing), timeout=_CLOSE_SECONDS)
        for actor in actors:
            ray.kill(actor)

    def _look(self) -> None:
        alive = {node["NodeID"]: node for node in ray.nodes() if node["Alive"]}
        free = available_resources_per_node()
        with self._lock:
            if self._closed:
                return
            gone = [node for node in self._nodes.values() if node.id not in alive]
            for found in alive.values():
                node = self._nodes.setdefault(str(found["NodeID"]), Node(found))
                if node.state in ("new", "failing", "busy", "spare") and time.monotonic() >= node.retry_at:
                    self._engage(node, int(free.get(node.id, {}).get("CPU", 0)))
            usable = any(node.state in ("ready", "starting") for node in self._nodes.values())
            if usable:
                self._unusable_since = None
            elif self._unusable_since is None:
                self._unusable_since = time.monotonic()
        for node in gone:
            self._lose(node, "the node has left the cluster")
            with self._lock:
                del self._nodes[node.id]
            self._changed()

    def _engage(self, node: Node, free: int) -> None:
        left = self._max_runs - sum(other.slots for other in self._nodes.values())
        if node.cpus < 1:
            node.state = "no cpu"
        elif left < 1:
            node.state = "spare"
        elif free < 1:
            # After a loss its CPUs are free again a moment later, and the loss is what is to be told.
            node.state, node.problem = "busy", node.problem or "its CPUs are in use by others"
        else:
            node.slots = min(free, left)
            node.state, node.problem = "starting", None
            threading.Thread(target=self._serve, args=(node,), daemon=True).start()

    def _serve(self, node: Node) -> None:
        """An agent from its beginning to its end."""
        try:
            agent = ray.remote(NodeAgent).options(
                num_cpus=node.slots,
                max_concurrency=node.slots + _MORE_CALLS,
                max_restarts=0,
                scheduling_strategy=NodeAffinitySchedulingStrategy(node.id, soft=False),
            )
            actor = node.actor = agent.remote(self._code, self._kept_bytes)
            facts = ray.get(actor.facts.remote(), timeout=_PLACED_SECONDS)
            if (difference := _difference(self._here, facts)) is not None:
                self._refuse(node, difference)
                return
            ray.get(actor.open.remote(), timeout=_JESSE_SECONDS)
            with self._lock:
                if node.state != "starting":
                    return
                node.state = "ready"
                # Not later: it might have been lost meanwhile, and would join after it had left.
                self._schedule.joined(node)
            self._changed()
            while node.state == "ready":
                listening = actor.listen.remote(_LISTEN_SECONDS)
                said = ray.get(listening, timeout=_LISTEN_SECONDS + self._patience)
                for ticket, kind, what in said:
                    self._schedule.said(node, ticket, kind, what)
                if said:
                    node.failures = 0
        except Exception as error:  # noqa: BLE001 - however a node is lost, its runs go elsewhere
            self._lose(node, _brief(error))

    def _refuse(self, node: Node, difference: str) -> None:
        ray.kill(node.actor)
        with self._lock:
            node.actor, node.slots = None, 0
            node.state, node.problem = "refused", difference
        self._changed()

    def _lose(self, node: Node, reason: str) -> None:
        with self._lock:
            if node.state not in ("ready", "starting") or self._closed:
                return
            node.failures += 1
            node.retry_at = time.monotonic() + min(_LONGEST_PAUSE_SECONDS, 2.0 ** (node.failures - 1))
            node.state, node.problem, node.slots = "failing", reason, 0
            actor, node.actor = node.actor, None
        if actor is not None:
            # It may only have been slow: its runs must not go on beside their second attempt.
            ray.kill(actor)
        self._schedule.left(node, f"{node.label}: {reason}")
        self._changed()


def _difference(here: dict[str, Any], there: dict[str, Any]) -> str | None:
    """Why a node would not compute the same numbers; what is installed besides does not matter."""
    for name in ("python", "platform"):
        if here[name] != there[name]:
            return f"{name} is {there[name]}, needed is {here[name]}"
    mine, its = here["packages"], there["packages"]
    wrong = [
        f"{name} is {its.get(name, 'missing')}, needed is {version}"
        for name, version in sorted(mine.items(), key=lambda item: (item[0] != "jesse", item[0]))
        if name not in _TOOLS and its.get(name) != version
    ]
    more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
    return "; ".join(wrong[:3]) + more if wrong else None


def _brief(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[-1][:300]}" if lines else type(error).__name__
