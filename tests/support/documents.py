"""The blocks of README and docs, and whether a command prints what one of them shows."""

import re

from src.config import PROJECT

BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FIGURE = re.compile(r"\b[0-9a-f]{12}\b|\d+(?:\.\d+)?")


def blocks(document: str, *languages: str) -> list[str]:
    """Return the blocks in those languages, in the document's order."""
    found = BLOCK.findall((PROJECT / document).read_text())
    return [text for language, text in found if language in languages]


def shows(block: str, printed: str, same_figures: bool = True) -> bool:
    """Say whether that was printed, wherever its lines are broken.

    ``…`` in the block stands for anything, and so does a line that begins and ends with it.
    With other figures, any number stands for each number, and any release for each release.
    """
    block = re.sub(r"^\s*….*…$", "…", block, flags=re.MULTILINE)
    block, printed = (" ".join(text.split()) for text in (block, printed))
    if not same_figures:
        block, printed = (FIGURE.sub("0", text) for text in (block, printed))
    return re.search(".*?".join(re.escape(part.strip()) for part in block.split("…")), printed) is not None
