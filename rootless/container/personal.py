"""Which of the caller's variables go into a dev shell. Every rank of a job loads this."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

# These describe the host's software or the host's shell; inside they would name what is not there.
_OF_THE_HOST = frozenset((
    "PATH", "MANPATH", "INFOPATH", "MODULEPATH", "MODULESHOME", "LOADEDMODULES", "_LMFILES_",
    "BASH_ENV", "ENV", "FPATH", "XDG_DATA_DIRS", "XDG_CONFIG_DIRS", "GCONV_PATH", "LOCPATH",
    "NLSPATH", "TERMINFO", "TERMINFO_DIRS", "PKG_CONFIG_PATH", "CPATH", "C_INCLUDE_PATH",
    "CPLUS_INCLUDE_PATH", "LIBRARY_PATH", "GI_TYPELIB_PATH", "PERL5LIB", "PERLLIB", "VIRTUAL_ENV",
    "CONDA_PREFIX", "CONDA_EXE", "SSL_CERT_FILE", "SSL_CERT_DIR", "PWD", "OLDPWD", "_",
    "container",
))  # fmt: skip
_PREFIXES_OF_THE_HOST = ("LD_", "PYTHON", "BASH_FUNC_", "__", "LMOD_", "_ModuleTable")
# These are the person's, whatever the image has set; all else of the image goes first.
_PERSONAL = frozenset((
    "HOME", "USER", "LOGNAME", "SHELL", "MAIL", "LANG", "LANGUAGE", "TZ", "TERM", "COLORTERM",
    "DISPLAY", "WAYLAND_DISPLAY", "XAUTHORITY", "EDITOR", "VISUAL", "PAGER", "TMPDIR", "NO_COLOR",
    "DBUS_SESSION_BUS_ADDRESS", "PULSE_SERVER", "HOSTNAME", "KRB5CCNAME",
))  # fmt: skip
_PERSONAL_PREFIXES = ("LC_", "SSH_", "XDG_", "GPG_", "SLURM", "PMI", "OMPI_", "PRTE_")


def is_passed(name: str) -> bool:
    """Tell whether a variable of the caller goes into a dev shell."""
    return name not in _OF_THE_HOST and not name.startswith(_PREFIXES_OF_THE_HOST)


def is_personal(name: str) -> bool:
    """Tell whether the caller's value goes before the image's."""
    return name in _PERSONAL or name.startswith(_PERSONAL_PREFIXES)


def add_variables(result: dict[str, str], caller: "Mapping[str, str]", home: str) -> None:
    """Add the caller's variables to those of the image."""
    for name, value in caller.items():
        if is_passed(name) and (is_personal(name) or name not in result):
            result[name] = value
    result["HOME"] = home
