"""Image or command: what the first word of `rpod shell` is where an image is known already.

A rank that joins others reads this, so it loads nothing.
"""

# The ends of images that are files: `rootless.container.create`.
FILES = (".sqfs", ".sqsh", ".squashfs", ".sif", ".simg")


def names_image(word: str) -> bool:
    """Tell whether a word is an image whatever there is: it has a tag, a digest or a registry.

    A bare one (python, make, bin/test) is a command: what the store has must not decide.
    """
    if word.startswith(("./", "../", "/")):
        return word.endswith(FILES)
    if word.endswith(FILES) or "@sha256:" in word:
        return True
    first, slash, rest = word.partition("/")
    if slash and (first == "localhost" or "." in first or ":" in first):
        return True
    return ":" in (rest if slash else first)
