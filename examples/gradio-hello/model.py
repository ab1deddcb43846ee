"""A language model small enough to read.

It counts which word follows which pair of words. That is all a "trigram model" is, and it is
enough to write on in the voice of a text of a few pages.
"""

import random
import re
from collections import Counter, defaultdict
from dataclasses import dataclass

WORD = re.compile(r"[^\W_]+(?:['’\-][^\W_]+)*|[.,;:!?]")
ENDS = {".", "!", "?"}


@dataclass(frozen=True)
class Model:
    words: list[str]
    """The text, word by word, punctuation included."""
    after_pair: dict[tuple[str, str], Counter]
    after_word: dict[str, Counter]

    @classmethod
    def learn(cls, text: str) -> "Model":
        words = WORD.findall(text)
        after_pair, after_word = defaultdict(Counter), defaultdict(Counter)
        for first, second, third in zip(words, words[1:], words[2:]):
            after_pair[first, second][third] += 1
        for first, second in zip(words, words[1:]):
            after_word[first][second] += 1
        return cls(words, dict(after_pair), dict(after_word))

    def write(self, opening: str, length: int, surprise: float, dice: random.Random):
        """Yields the text as it grows, one word at a time, up to `length` words.

        `surprise` from 0 to 1: 0 always takes the most common next word, 1 takes any.
        """
        said = WORD.findall(opening)
        text = opening.strip()
        if text:
            yield text
        for _ in range(length):
            choices = self._next(said)
            if surprise <= 0:
                word = choices.most_common(1)[0][0]
            else:
                weights = [count ** (1 / surprise) for count in choices.values()]
                word = dice.choices(list(choices), weights)[0]
            if not said or said[-1] in ENDS:
                word = word[:1].upper() + word[1:]
            text += word if word in ".,;:!?" or not text else " " + word
            said.append(word)
            yield text

    def _next(self, said: list[str]) -> Counter:
        """What may follow: by the last two words, else by the last one, else any start."""
        if len(said) >= 2 and (said[-2], said[-1]) in self.after_pair:
            return self.after_pair[said[-2], said[-1]]
        if said and said[-1] in self.after_word:
            return self.after_word[said[-1]]
        starts = [word for before, word in zip(["."] + self.words, self.words) if before in ENDS]
        return Counter(word for word in starts if word not in ".,;:!?") or Counter(self.words)
