"""Fill gaps: facts that the stream no longer holds are replayed from the owner's PostgreSQL."""

import logging
from contextlib import aclosing

from chassis.messaging.committer import Committer
from chassis.messaging.message import StreamMessage
from chassis.messaging.reader import ReaderState
from chassis.messaging.replay import request_replay

log = logging.getLogger(__name__)


class GapReplay:
    """Replays the missing facts of one slot group."""

    def __init__(self, state: ReaderState, committer: Committer) -> None:
        self._state = state
        self._positions = state.positions
        self._committer = committer

    async def replay_all_slots(self, first_sequence: int) -> None:
        """Replay every slot to its end, for a stream that begins behind the stored position."""
        for slot in self._state.slots:
            await self.replay(slot, None)
        await self._committer.store(self._positions.at, first_sequence - 1)

    async def replay(self, slot: int, until: int | None) -> bool:
        """Apply a slot's missing facts up to a position; None for all that the owner has.

        Returns False when the owner has no fact at that position.
        """
        state, after = self._state, self._positions.at[slot]
        state.behind = 1
        log.warning("%s is behind: slot %s, after %s until %s", state.role, slot, after, until)
        request = {"slot": slot, "after": after, "until": until}
        facts = request_replay(state.service.bus, state.reader.stream, state.name, request)
        try:
            async with aclosing(facts):
                async for item in facts:
                    state.record_progress()
                    await self._apply_replayed(slot, item)
                    if item.position == until:
                        break
        finally:
            state.behind = 0
        return until is None or self._positions.at[slot] == until

    async def _apply_replayed(self, slot: int, item: StreamMessage) -> None:
        """Apply one fact of a replay, if it is the next of its slot."""
        at = self._positions.at[slot]
        if item.slot != slot or item.position is None or not item.previous <= at < item.position:
            return
        positions = {**self._positions.at, slot: item.position}
        await self._committer.apply([item], positions, self._positions.sequence)
