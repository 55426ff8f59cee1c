"""Opening a file as it lies: compressed, in another encoding, at an address."""
