"""What a run tells a person: of its file, of its answers, of how it ended."""
