"""What a caller may say about a transfer; light, so that the command line can load it early."""

from storage.record import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from storage.policy import Demand


class Credentials(NamedTuple):
    """What proves who the user is: a password, or an identity token (OAuth 2 refresh token)."""

    user: str
    password: str
    identity_token: str = ""

    def __repr__(self) -> str:
        """Keep secrets out of tracebacks and logs."""
        return f"Credentials(user={self.user!r})"


class PullOptions(NamedTuple):
    """How to talk to a registry.

    `tls_verify`: None is HTTPS with verified certificates, and plain HTTP on loopback; False
    allows unverified certificates and plain HTTP anywhere; True is HTTPS even on loopback.
    `ca_dir` has *.crt (authorities) and *.cert with *.key (client certificates).
    `credentials` come before those of `authfile`, and these before the user's files. `demands` are
    the signatures that an image must have.
    """

    tls_verify: bool | None = None
    ca_dir: str | None = None
    credentials: Credentials | None = None
    authfile: str | None = None
    retries: int = 3
    retry_delay_s: float = 2.0
    max_concurrent: int = 6
    connect_timeout_s: float = 15.0
    read_timeout_s: float = 60.0
    document_timeout_s: float = 120.0
    demands: tuple["Demand", ...] = ()
