"""The statuses of a type of request: the first is the initial one, `closing` ends processing."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

Status = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,31}$")]


class Graph(BaseModel):
    """Which status may follow which."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    statuses: Annotated[dict[Status, list[Status]], Field(min_length=1)]
    closing: Annotated[list[Status], Field(min_length=1)]

    @model_validator(mode="after")
    def _closed(self) -> "Graph":
        known = set(self.statuses) | {to for steps in self.statuses.values() for to in steps}
        for status in self.closing:
            if status not in known:
                raise ValueError(f"closing: no such status {status!r} (allowed: {', '.join(sorted(known))})")
        for status in self.closing:
            if self.statuses.get(status):
                raise ValueError(f"closing: {status!r} is followed by others, so it does not end anything")
        for status in known - set(self.closing):
            if not self.statuses.get(status):
                raise ValueError(f"statuses: nothing follows {status!r}, and it is not closing")
        return self

    @property
    def initial(self) -> str:
        """The status a request begins with."""
        return next(iter(self.statuses))

    def next(self, status: str) -> list[str]:
        """Name the statuses that may follow."""
        return self.statuses.get(status, [])

    def cycle(self) -> list[str]:
        """Give a way around in circles, or nothing."""
        path: list[str] = []
        done: set[str] = set()

        def walk(status: str) -> list[str]:
            if status in path:
                return [*path[path.index(status) :], status]
            if status in done:
                return []
            path.append(status)
            for following in self.next(status):
                if found := walk(following):
                    return found
            done.add(path.pop())
            return []

        for status in self.statuses:
            if found := walk(status):
                return found
        return []
