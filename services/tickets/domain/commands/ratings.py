"""Ratings."""

from tickets.domain.events import NO_EVENTS, Events, Rated
from tickets.domain.request import Request


def on_rating(request: Request, score: int, comment: str | None) -> Events:
    """Record the customer's first rating; later ones have no effect."""
    return NO_EVENTS if request.rated else (Rated(score, comment),)
