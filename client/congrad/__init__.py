"""CONGRAD: which preference pairs, or which completions, pull a multilingual model where its other languages are hurt.

with congrad.Client() as client:
    result = client.filter([{"language": "de", "prompt": "…", "chosen": "…", "rejected": "…"}, …])
kept = [decision.id for decision in result.decisions if decision.keep]
"""

import lazy_loader

# What is named in the stub beside this module is imported when it is first asked for.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
