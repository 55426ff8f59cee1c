"""What came back, and which error it is."""
