"""`python -m congrad` is the `congrad` command."""

from congrad.commands.app import main

main()
