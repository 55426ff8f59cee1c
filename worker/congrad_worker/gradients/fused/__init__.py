"""What models compute in chains of operations, each of which reads and writes all hidden states, in fewer of them.

Nothing here knows an architecture. What a module or a function computes is found out on random numbers, forward and
backward, and whatever it is that differs stays as it is.
"""
