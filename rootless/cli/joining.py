"""`rpod shell --join` before anything of the command line is loaded: most ranks end here."""

import os
import sys

from rootless.cli.reporting import report
from rootless.container.rank import join_early


def join() -> None:
    """Become the program if other ranks are there already; else return for the command to go on."""
    try:
        join_early(sys.argv[1:], os.environ)
    except Exception as error:  # noqa: BLE001 - as in rootless.cli.main: errors become text
        code = report(error)
        sys.stderr.flush()
        os._exit(code)
