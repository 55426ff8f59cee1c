"""The page that shows directions, jobs and workers as they are: its files, and what serves them from memory."""
