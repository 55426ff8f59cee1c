"""Whether an adapter was saved with another chat template than its base has.

Trainers save the tokenizer beside an adapter. It is the model's that is served: adapters come and go on one base.
"""

import json
import logging
from contextlib import suppress
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

log = logging.getLogger(__name__)


def warn_of_own_template(source: str, adapter: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    """Says so where an adapter's folder has a chat template that is not the one which messages are laid out with.

    :param source: the setting and its value, for messages.
    """
    own = _template_in(adapter)
    if own is not None and own != tokenizer.chat_template:
        log.warning(
            "%s: its chat template is not used: messages are laid out by that in the model's folder, %s; put the "
            "tokenizer that the adapter is trained with there",
            source,
            "which is another" if tokenizer.chat_template else "which has none",
        )


def _template_in(folder: Path) -> Any:
    """As transformers saves it; None where there is none, or none that can be read."""
    with suppress(OSError, ValueError, AttributeError):
        if (path := folder / "chat_template.jinja").is_file():
            return path.read_text(encoding="utf-8")
        return json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8")).get("chat_template")
    return None
