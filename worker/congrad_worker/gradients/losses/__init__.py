"""From the logits of completion tokens to the loss of each pair."""
