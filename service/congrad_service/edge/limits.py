"""What a peer may send, hold open and leave unread: the limits of a connection, of all connections, and of what is in
flight on them. docs/reliability.md has them as a table.

Memory follows from them. What nobody has shown a token for, is a head for each of `CONGRAD_MAX_CONNECTIONS` at most,
whose weights together are bounded too, and nothing of a body; what comes with a token is counted as it comes and as it
goes.
"""

KIB = 2**10
MIB = 2**20

READ_BYTES = 8 * KIB
"""Read from a connection at once. The next read is for those who go on listening."""

# The head of a request.

HEAD_S = 20.0
"""From the connection, or the first byte of a later request, to the end of its head."""
MAX_HEAD_BYTES = 16 * KIB
MAX_FIELDS = 100
FIELD_WEIGHT = 160
"""What a field takes beside its bytes: objects of Python."""
MAX_HEADS_WEIGHT = 8 * MIB
"""Of the heads of all requests that have no answer yet. Some thousand usual ones are as much; large ones are refused
first, with those that come at the same time."""
MAX_PIPELINED = 4
"""Requests that wait behind the one that is being answered."""

# The body of a request.

BODY_S = 300.0
"""A body that is not whole by then holds what came of it in memory for no one."""
MAX_VALUES = 2 * MIB
"""Names and values of a body of JSON. In one of 64 MiB there is room for thirty million, which took minutes and
gigabytes; 4,096 samples of 64 messages each are within this."""
MAX_FRAMING_BYTES = 16 * KIB
"""What comes and is no byte of the body: sizes of chunks and what is behind them, trailers."""

# After the answer.

LINGER_S = 5.0
LINGER_BYTES = 16 * MIB
"""For the rest of a request that has its answer already. It is thrown away: a connection that is closed in the middle
of it would take the answer along."""
KEEP_ALIVE_S = 5.0
"""Until the next request begins."""

# What the peer does not read.

PIECE_BYTES = 64 * KIB
"""What is written at once of a larger answer: the next piece is for those who have read."""
STALLED_S = 30.0
"""For a piece, and for the end of an answer, to be taken."""
ANSWER_S = 300.0
"""For all of an answer; an event of a stream is one."""

# At once.

BODIES_AT_ONCE = 4
"""Bodies of the largest size: what is received and sent at once is no more than this, of all together…"""
BODIES_AT_ONCE_EACH = 2
"""… and of one token."""
ROOM_S = 5.0
"""What there is no room for waits so long before it is refused."""
