"""What can go wrong with an application of compose; the exit codes are docker compose's.

ComposeError                    1
+-- NoFile                      14  no compose file, or one that it names, is there
+-- InvalidFile                 15  a file is no compose file; names the file and the key
+-- BuildFailed                 17  an image of a service could not be built
+-- PullFailed                  18  an image of a service could not be fetched
"""

from rootless.errors import UsageError


class ComposeError(UsageError):
    exit_code = 1


class NoFile(ComposeError):
    exit_code = 14


class InvalidFile(ComposeError):
    exit_code = 15


class BuildFailed(ComposeError):
    exit_code = 17


class PullFailed(ComposeError):
    exit_code = 18
