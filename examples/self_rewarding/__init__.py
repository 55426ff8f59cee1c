"""The self-rewarding loop of CONGRAD: sample, judge, pair, filter, train, and again with the trained checkpoint.

    python -m examples.self_rewarding examples/self_rewarding/tiny.toml --output build/self-rewarding

runs two rounds on a CPU, with the checkpoint and the prompts that the package ships. Needs
`pip install -c constraints.txt '.[all,trl]'`. ``gpu.toml`` is a beginning for real models.
"""
