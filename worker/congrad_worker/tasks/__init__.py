"""What a task does, how it reads and writes Redis, and what it says of itself."""
