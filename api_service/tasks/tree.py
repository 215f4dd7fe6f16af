"""Tasks that are part of others: the shape of their trees, and how far it may go."""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Iterable, Iterator

from api_service.tasks.queries import Node
from shared.errors import SubtaskCycle, TreeLimitExceeded
from shared.task_fields import MAX_DEPTH, MAX_TREE


class Forest:
    """Whole trees, as they are and as a call is about to make them."""

    def __init__(self, nodes: Iterable[Node]) -> None:
        self._parents: dict[uuid.UUID, uuid.UUID | None] = {}
        self._children: defaultdict[uuid.UUID, set[uuid.UUID]] = defaultdict(set)
        for node in nodes:
            self._set(node.id, node.parent_id)

    def line(self, id_: uuid.UUID) -> list[uuid.UUID]:
        """Returns the task, what it is part of, and so on up to the root."""
        line = [id_]
        while (parent := self._parents.get(line[-1])) is not None and parent not in line:
            line.append(parent)
        return line

    def detach(self, id_: uuid.UUID) -> None:
        """Makes the task a root."""
        self._set(id_, None)

    def attach(self, id_: uuid.UUID, parent: uuid.UUID) -> None:
        """Makes the task, new or not, part of another.

        Raises SubtaskCycle, or TreeLimitExceeded where the tree would get too deep or too large.
        """
        line = self.line(parent)
        if id_ in line:
            raise SubtaskCycle
        self.detach(id_)
        below = dict(self._below(id_, 1))
        if len(line) + max(below.values()) > MAX_DEPTH:
            raise TreeLimitExceeded(f"A tree of tasks is at most {MAX_DEPTH} deep.", limit=str(MAX_DEPTH))
        if len(dict(self._below(line[-1], 1))) + len(below) > MAX_TREE:
            raise TreeLimitExceeded(f"A tree holds at most {MAX_TREE} tasks.", limit=str(MAX_TREE))
        self._set(id_, parent)

    def _set(self, id_: uuid.UUID, parent: uuid.UUID | None) -> None:
        before = self._parents.get(id_)
        if before is not None:
            self._children[before].discard(id_)
        self._parents[id_] = parent
        if parent is not None:
            self._children[parent].add(id_)

    def _below(self, id_: uuid.UUID, level: int) -> Iterator[tuple[uuid.UUID, int]]:
        yield id_, level
        for child in self._children.get(id_, ()):
            yield from self._below(child, level + 1)
