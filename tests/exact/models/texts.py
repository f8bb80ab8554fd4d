"""Real English text: the reference of the Python language, which Python itself carries."""

import re
from pydoc_data.topics import topics

WORDS_MIN, WORDS_MAX = 8, 45
"""Sentences outside of this are headings, tables or code."""

QUESTIONS = (
    "How do I catch an exception?",
    "What happens when a name is not defined?",
    "How are objects compared for equality?",
    "When is an object deleted by the garbage collector?",
    "How do I define a class with a metaclass?",
    "What does the with statement do?",
    "How are default values of function parameters evaluated?",
    "How can I write a coroutine?",
    "What is the difference between is and ==?",
    "How are strings formatted?",
    "How does slicing a list work?",
    "What does an import statement search for?",
    "How do decorators change a function?",
    "Which types are immutable?",
    "How do I set a breakpoint in the debugger?",
    "What is the order of evaluation of an expression?",
    "How does division of integers round?",
    "What does a lambda expression return?",
    "How do I match a value against patterns?",
    "What is the scope of a variable?",
)


def sentences(count: int) -> list[str]:
    """Return the first `count` different sentences of the reference, in the order of its topics.

    Raises:
        ValueError: the reference has fewer.
    """
    found: dict[str, None] = {}
    for name in sorted(topics):
        for paragraph in topics[name].split("\n\n"):
            text = " ".join(paragraph.split())
            for sentence in re.split(r"(?<=[.!?]) (?=[A-Z])", text):
                if WORDS_MIN <= len(sentence.split()) <= WORDS_MAX and sentence[0].isupper():
                    found.setdefault(sentence)
    if len(found) < count:
        raise ValueError(f"there are {len(found)} sentences, not {count}")
    return list(found)[:count]


def prose(characters: int) -> str:
    """Return the reference's text, topic after topic, up to this many characters."""
    whole = "\n".join(topics[name] for name in sorted(topics))
    return whole[:characters]
