"""What the task of a decide worker does: one job, decided against its direction, and written in one step."""
