"""`python -m congrad` is the `congrad` command."""

from congrad.commands.app import main

try:
    main()
finally:
    # An interrupt that comes while a string is executed, as when a library defines a dataclass, makes Python end by
    # that signal, whatever the program's own exit status is. Only the next string that is executed lets it forget.
    exec("")  # noqa: S102
