"""How the gradients of languages become one direction: surgery and what may stand in its place, by name."""
