"""`--chmod` of COPY and ADD: octal numbers, and the symbolic modes of chmod(1)."""

import stat

from storage.build.errors import BuildInputError

_CLASSES = {"u": 0o4700, "g": 0o2070, "o": 0o1007}
_ALL = 0o7777
_SHIFTS = {"u": 6, "g": 3, "o": 0}
_LETTERS = {"r": 0o444, "w": 0o222, "x": 0o111}


class ModeChange:
    """A parsed mode. Raises BuildInputError."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._octal: int | None = None
        self._clauses: list[tuple[str, str, str]] = []
        if text and all(character in "01234567" for character in text):
            self._octal = int(text, 8)
            if self._octal > _ALL:
                raise self._bad()
            return
        for clause in text.split(","):
            self._parse(clause)

    def _bad(self) -> BuildInputError:
        return BuildInputError(
            f"--chmod={self._text[:60]}: it is not a mode",
            remedy="use an octal number such as 0755, or a symbolic mode such as u=rwX,go=rX",
        )

    def _parse(self, clause: str) -> None:
        position = 0
        while position < len(clause) and clause[position] in "ugoa":
            position += 1
        who = clause[:position] or "a"
        if position == len(clause) or clause[position] not in "+-=":
            raise self._bad()
        while position < len(clause):
            operator = clause[position]
            position += 1
            start = position
            while position < len(clause) and clause[position] not in "+-=":
                if clause[position] not in "rwxXstugo":
                    raise self._bad()
                position += 1
            self._clauses.append((who, operator, clause[start:position]))

    def apply(self, mode: int, *, is_directory: bool) -> int:
        """Return the permission bits that a file gets, from those that it has."""
        mode = stat.S_IMODE(mode)
        if self._octal is not None:
            return self._octal
        for who, operator, letters in self._clauses:
            classes = "ugo" if "a" in who else who
            mask = 0
            for one in classes:
                mask |= _CLASSES[one]
            bits = self._bits(mode, classes, letters, is_directory=is_directory)
            if operator == "+":
                mode |= bits
            elif operator == "-":
                mode &= ~bits
            else:
                # chmod(1): `=` leaves setuid and setgid of directories alone unless named.
                kept = 0o6000 if is_directory else 0
                mode = (mode & ~(mask & ~kept)) | bits
        return mode

    def _bits(self, mode: int, classes: str, letters: str, *, is_directory: bool) -> int:
        bits = 0
        for letter in letters:
            if letter in _LETTERS:
                bits |= self._spread(_LETTERS[letter], classes)
            elif letter == "X":
                if is_directory or mode & 0o111:
                    bits |= self._spread(0o111, classes)
            elif letter == "s":
                bits |= (0o4000 if "u" in classes else 0) | (0o2000 if "g" in classes else 0)
            elif letter == "t":
                bits |= 0o1000 if classes == "ugo" or "o" in classes else 0
            else:
                three = mode >> _SHIFTS[letter] & 7
                bits |= self._spread(three * 0o111, classes)
        return bits

    @staticmethod
    def _spread(bits: int, classes: str) -> int:
        mask = 0
        for one in classes:
            mask |= 7 << _SHIFTS[one]
        return bits & mask
