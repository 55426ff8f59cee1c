"""How many tokens a micro-batch may have."""


class Budget:
    """Tokens of a micro-batch: halved where the device's memory asks for it, and growing again.

    What else has the device's memory may go away, and one batch of unusual shape is no reason to be slow for ever. To
    try the whole budget again costs a batch, so that it comes back in parts: where it never fits, one request in about
    `STEPS` / 2 has a batch that fails.

    :param most: what is never exceeded, except by a sequence that is longer by itself.
    """

    STEPS = 32
    """Requests until it has grown from nothing to the whole."""

    def __init__(self, most: int):
        self.tokens = most
        self._most = most

    def exceeded(self, tokens: int) -> None:
        """A batch of so many tokens did not fit."""
        self.tokens = min(self.tokens, max(tokens // 2, 1))

    def sufficed(self) -> None:
        """All batches of a request have fitted."""
        self.tokens = min(self._most, self.tokens + -(-self._most // self.STEPS))
