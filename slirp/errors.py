"""What can go wrong with packets.

SlirpError                      125
+-- InvalidNetwork              --network, --dns or --add-host breaks its grammar or names nothing
+-- InvalidPort                 --publish or --expose breaks its grammar
+-- PortUnavailable             a host port is taken, too low, or on an address this host lacks
+-- HelperMissing               slirp4netns or pasta is not installed
+-- HelperFailed                slirp4netns or pasta did not start, or refused a request
"""


class SlirpError(Exception):
    """A failure with what a person needs: `message`, `remedy` (may be empty) and `exit_code`."""

    exit_code = 125

    def __init__(self, message: str, *, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy


class InvalidNetwork(SlirpError):
    pass


class InvalidPort(SlirpError):
    pass


class PortUnavailable(SlirpError):
    pass


class HelperMissing(SlirpError):
    pass


class HelperFailed(SlirpError):
    pass
