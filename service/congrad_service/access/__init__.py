"""Who may do what: tokens, roles, and the teams that jobs and directions belong to."""
