"""Webhooks: facts handed to addresses of others, signed, in order, until they are taken.

`endpoints` says who wants what, `rules` decides, `deliveries` remembers, `outward` keeps us from
being sent where we should not go, `post` hands one over, `courier` does it all.
"""
