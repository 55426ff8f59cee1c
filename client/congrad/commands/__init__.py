"""The commands of `congrad`, one module each."""
