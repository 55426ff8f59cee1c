"""`python -m congrad` is the `congrad` command."""

from congrad.cli import main

main()
