"""Eligibility: the reasons why an operator cannot be given a request."""

from enum import StrEnum

from routing.domain.model import Group, Operator, Request, Status


class Ineligibility(StrEnum):
    """A reason why an operator cannot be given a request."""

    NOT_A_MEMBER = "not_a_member"
    NO_SKILL = "no_skill"
    OFFLINE = "offline"
    AWAY = "away"
    BUSY = "busy"
    HANDED_BACK = "handed_back"
    FULL = "full"
    CHANNEL_FULL = "channel_full"


_NOT_ONLINE = {
    Status.OFFLINE: Ineligibility.OFFLINE,
    Status.AWAY: Ineligibility.AWAY,
    Status.BUSY: Ineligibility.BUSY,
}


def eligibility(
    op: Operator, request: Request, group: Group, *, automatic: bool = True
) -> Ineligibility | None:
    """Return why the operator cannot be given the request, or None when they can.

    A claim or a transfer (`automatic=False`) may also go to an operator who is away, and to the
    operator who handed the request back. The matcher gives it back to that operator only when the
    group has no other member.
    """
    profile = op.profile
    if profile.id not in group.members:
        return Ineligibility.NOT_A_MEMBER
    if profile.skills and request.topic not in profile.skills:
        return Ineligibility.NO_SKILL
    if op.status is not Status.ONLINE and (automatic or op.status is not Status.AWAY):
        return _NOT_ONLINE[op.status]
    if automatic and profile.id == request.avoid and len(group.members) > 1:
        return Ineligibility.HANDED_BACK
    if op.load >= profile.limit:
        return Ineligibility.FULL
    limit = profile.channels.get(request.channel)
    if limit is not None and op.channel_load.get(request.channel, 0) >= limit:
        return Ineligibility.CHANNEL_FULL
    return None
