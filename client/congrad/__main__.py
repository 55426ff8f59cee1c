"""The `congrad` command, as which `python -m congrad` runs too."""

import sys


def main() -> None:
    """Entry point. The exit status of a run that is interrupted is that of the command, wherever the interrupt came."""
    try:
        from congrad.commands.app import app  # takes half a second, in which somebody may think better of it
        from congrad.commands.terminal.closed import open_what_is_closed

        open_what_is_closed()
        app()
    except KeyboardInterrupt:
        sys.exit(130)  # `INTERRUPTED`, which may not have been imported
    finally:
        # An interrupt that comes while a string is executed, as when a library defines a dataclass, makes Python end by
        # that signal, whatever the program's own exit status is. Only the next string that is executed lets it forget.
        exec("")  # noqa: S102


if __name__ == "__main__":
    main()
