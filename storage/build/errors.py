"""What can go wrong with the files of a build.

StorageError                    125
+-- BuildInputError             something that a Containerfile names is not there, or not usable
    +-- InvalidPattern          an ignore pattern or wildcard that cannot be read
    +-- ContextError            a build context that cannot be got or read
"""

from storage.errors import StorageError


class BuildInputError(StorageError):
    pass


class InvalidPattern(BuildInputError):
    pass


class ContextError(BuildInputError):
    pass
