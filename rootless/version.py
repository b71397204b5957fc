"""The version of rpod; pyproject.toml reads it from here."""

VERSION = "0.1.0"

# Started by one of these names (a link to rpod), it tells tools that ask the version whose commands
# and options it offers: podman-compose, for one, does less where it finds an older one.
STANDS_FOR = {"podman": "5.2.0", "docker": "27.3.1"}
