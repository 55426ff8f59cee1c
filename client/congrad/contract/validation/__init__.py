"""What pydantic finds wrong in what a peer sent: how much of it is told, and in which words."""
