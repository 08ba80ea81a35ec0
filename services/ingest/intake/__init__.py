"""Intake: stored deliveries become facts, a batch in one transaction.

To follow a message: `handlers`, its channel's parser, `store`, then `message_intake` and
`intake_batch` of the domain.
"""
