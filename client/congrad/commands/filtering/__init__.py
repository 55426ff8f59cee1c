"""One run of `congrad filter`: what is asked, what is kept on disk meanwhile, and what is written."""
