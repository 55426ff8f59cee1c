"""A checkpoint that answers prompts, and grades answers."""

import gc
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, set_seed

from .prompts import Answer, Answered, Prompt
from .settings import Settings

T = TypeVar("T")

GRADES = ("1", "2", "3", "4", "5")

GRADING = """\
Grade the reply to the request below from 1 to 5. One point each for a reply that is relevant, that answers all of the \
request, that is correct, that is well written in the language of the request, and that is as short as it can be.

Request:
{prompt}

Reply:
{answer}

Reply with nothing but the grade."""
"""After the additive prompt of Yuan et al. 2024 (arXiv 2401.10020); the one of CONGRAD's authors is not public."""


class Policy:
    """A checkpoint, loaded: on the GPUs if there are any."""

    def __init__(self, checkpoint: str, settings: Settings):
        self._settings = settings
        self._tokenizer: Any = AutoTokenizer.from_pretrained(checkpoint, padding_side="left")
        if self._tokenizer.pad_token is None:
            self._tokenizer.pad_token = self._tokenizer.eos_token
        self._model: Any = AutoModelForCausalLM.from_pretrained(
            checkpoint, dtype=settings.dtype, device_map="auto", use_safetensors=True
        )

    def answer(self, prompts: Sequence[Prompt], seed: int) -> list[Answered]:
        """``candidates`` answers to each prompt, the same ones for the same seed."""
        set_seed(seed)
        answered = []
        for batch in _batches(prompts, self._settings.batch_size):
            answers = self._sample(self._encode([self._chat(prompt.prompt) for prompt in batch]))
            for prompt, own in zip(batch, _batches(answers, self._settings.candidates), strict=True):
                answered.append(Answered(**prompt.model_dump(), answers=list(own)))
        return answered

    def grade(self, prompt: Prompt, answers: Sequence[str]) -> list[float]:
        """The mean of the grades that the model could give to each answer, by their probabilities: no grade has to be
        drawn or read from a text, and ties are rare.

        :raises ValueError: the tokenizer does not have one token for a grade.
        """
        texts = [self._chat(GRADING.format(prompt=prompt.prompt, answer=answer)) for answer in answers]
        tokens = [[self._ids(text + grade) for grade in GRADES] for text in texts]  # [answers][grades][tokens]
        if any(one[:-1] != grades[0][:-1] for grades in tokens for one in grades):
            raise ValueError(f"the tokenizer does not make one token of each of {', '.join(GRADES)}")
        batch = self._pad([grades[0][:-1] for grades in tokens])
        made = self._model.generate(
            **batch, max_new_tokens=1, do_sample=False, output_logits=True, return_dict_in_generate=True
        )
        last = torch.tensor([[one[-1] for one in grades] for grades in tokens], device=made.logits[0].device)
        probabilities = made.logits[0].float().gather(1, last).softmax(dim=1)  # [answers, grades]
        return [float(mean) for mean in probabilities.cpu() @ torch.tensor([float(grade) for grade in GRADES])]

    def _sample(self, batch: Any) -> list[Answer]:
        made = self._model.generate(
            **batch,
            do_sample=True,
            temperature=self._settings.temperature,
            top_k=0,  # what generation_config.json has is for chats: candidates should differ
            top_p=1.0,
            num_return_sequences=self._settings.candidates,
            max_new_tokens=self._settings.max_new_tokens,
            pad_token_id=self._tokenizer.pad_token_id,
        )
        new = made[:, batch["input_ids"].shape[1] :].cpu()  # [prompts * candidates, tokens]
        ends = torch.as_tensor(self._model.generation_config.eos_token_id).view(-1)
        finished = torch.isin(new, ends).any(dim=1).tolist()
        texts = self._tokenizer.batch_decode(new, skip_special_tokens=True)
        return [Answer(text=text.strip(), finished=ended) for text, ended in zip(texts, finished, strict=True)]

    def _chat(self, content: str) -> str:
        messages = [{"role": "user", "content": content}]
        return str(self._tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False))

    def _ids(self, text: str) -> list[int]:
        return list(self._tokenizer(text, add_special_tokens=False).input_ids)

    def _encode(self, texts: Sequence[str]) -> Any:
        return self._pad([self._ids(text) for text in texts])

    def _pad(self, ids: list[list[int]]) -> Any:
        return self._tokenizer.pad({"input_ids": ids}, return_tensors="pt").to(self._model.device)


def free_memory() -> None:
    """Gives back a GPU's memory that no object needs any more: the next step's model, or the workers', needs it."""
    gc.collect()
    torch.cuda.empty_cache()


def _batches(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    return (items[start : start + size] for start in range(0, len(items), size))
