"""Whether a checkpoint is a decoder alone: of one that has an encoder beside it, transformers would load half."""

from transformers import PretrainedConfig
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from congrad_worker.errors import CheckpointError


def check_encoder(source: str, config: PretrainedConfig) -> None:
    """BART and its kin have a class of causal language models, which is the decoder without what it was trained to
    attend to. A model that was saved from that class says so, and is what it seems.

    :param source: the setting and its value, for messages.
    :raises CheckpointError: there is an encoder.
    """
    saved_from = config.architectures or []
    if config.is_encoder_decoder and not set(saved_from) & set(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.values()):
        kind = ", ".join(saved_from) or config.model_type
        raise CheckpointError(f"{source}: {kind} has an encoder beside its decoder; only decoders alone are served")
