"""What a peer may send, hold open and leave unread, before a token is shown and after."""
