"""What podman has and rpod has not, with the reason: for error messages and docs/commands.md.

Only looked at when a command line names something that is not in the table of commands, so an entry
of something that rpod has got meanwhile does no harm.
"""

_ROOT = "it takes privilege over the host that a regular user does not have"
_ATTESTATION = "rpod makes no attestations: what an image is made of is in its history"
_POD_LIMIT = "each container has a cgroup of its own: give the limit to the containers"
_BUILD_IDS = "a build has all your subordinate ids, as every image has one map of ids"
_SIGNING = "rpod neither makes nor removes signatures"

# By the first word of the command, or by the whole of it.
COMMANDS = {
    "compose alpha": "what docker compose tries out is not here",
    "compose bridge": "charts of Kubernetes are not written; see `rpod kube generate`",
    "compose commit": "use `rpod commit` with the name of the container",
    "compose export": "use `rpod export` with the name of the container",
    "compose publish": "compose files are not kept in registries",
    "compose watch": "files are not copied when they change; mount the directory",
    "container checkpoint": f"{_ROOT} (CRIU)",
    "container cleanup": "there is nothing to clean up: mounts and networks end with the container",
    "container restore": f"{_ROOT} (CRIU)",
    "container runlabel": "an image should not choose the command line of the host",
    "generate": "only units of systemd and documents of Kubernetes are generated",
    "generate spec": "a specgen is podman's own input, which nothing else reads: `rpod inspect` has"
    " what was asked for, `rpod container clone` repeats it",
    "image sign": _SIGNING,
    "image trust set": "policy.json is obeyed; edit it with an editor",
    "image trust show": "it is `image trust` with an argument",
    "kube apply": "rpod talks to no cluster: rpod kube generate NAME | kubectl apply -f -",
    "machine": "rpod runs on Linux itself, without a virtual machine",
    "system connection": "rpod works on this machine; elsewhere use ssh HOST rpod",
    "system migrate": "every older record can be read: there is nothing to migrate",
    "system renumber": "locks have no numbers: there is nothing to renumber",
    "volume reload": "there are no volume plugins whose volumes could have changed",
}

OPTIONS = {
    "all-platforms": "name the platforms with --platform",
    "attest": _ATTESTATION,
    "builder": "there is one builder, which needs no daemon",
    "chrootdirs": "/etc/hosts and the like are written once: mount them where a chroot wants them",
    "compat-volumes": "what RUN writes below a VOLUME is kept, as BuildKit does",
    "created-annotation": "the time of an image is in its configuration; use --annotation",
    "cw": "an encrypted virtual machine needs hardware, and rights, that rpod does not ask for",
    "conmon-pidfile": "there is no conmon; --pidfile writes the id of the container's process",
    "cors": "the socket is for programs of its user, and no web page",
    "cpp-flag": "a preprocessor lets a Containerfile include any file that you may read;"
    " where you trust it: cpp -E -traditional -undef -P FILE | rpod build -f - CONTEXT",
    "decryption-key": "encrypted images cannot be read yet",
    "device-cgroup-rule": _ROOT,
    "dry-run": "`rpod compose config` shows what is understood",
    "menu": "there is no menu; ctrl-c stops the services",
    "disable-compression": "layers are stored as they are pushed, compressed",
    "hooks-dir": "a hook would run a program of the host for every container",
    "inherit-annotations": "annotations of a base image are never taken over; use --annotation",
    "init-path": "rpod's own init is used",
    "logsplit": "--logfile has the platforms one after the other",
    "os-feature": "only Windows images have it",
    "os-version": "only Windows images have it",
    "personality": "start the command through setarch(8)",
    "pod-prefix": "services of pods are made of Quadlet's .pod and .kube files",
    "provenance": _ATTESTATION,
    "rootless-netns": "there is no network namespace that containers share",
    "runtime-flag": "rpod runs containers itself, without an OCI runtime",
    "sbom": _ATTESTATION,
    "save-stages": "every step is kept in the cache; use --target to name a stage",
    "seccomp-policy": "an image should not choose the filter that guards the host",
    "sign-by": _SIGNING,
    "sign-by-sigstore-private-key": _SIGNING,
    "sign-passphrase-file": _SIGNING,
    "source-policy-file": "policy.json decides which images may be used",
    "stage-labels": "images of stages have no names; use --target and --label",
    "subgidname": "the ranges of your own name are used: another's cannot be mapped",
    "subuidname": "the ranges of your own name are used: another's cannot be mapped",
    "template": "a unit of several instances is made of a Quadlet file NAME@.container",
    "transient-mount": "use --volume: it is not part of the image",
    "userns-gid-map": _BUILD_IDS,
    "userns-gid-map-group": _BUILD_IDS,
    "userns-uid-map": _BUILD_IDS,
    "userns-uid-map-user": _BUILD_IDS,
}

# Options of commands on pods.
_POD_LIMITS = (
    "blkio-weight",
    "blkio-weight-device",
    "cpu-shares",
    "cpus",
    "cpuset-cpus",
    "cpuset-mems",
    "device-read-bps",
    "device-write-bps",
    "memory",
    "memory-swap",
)


def why_no_command(name: str) -> str:
    """Return why there is no such command, "" when podman has none of this name either."""
    words = name.split(" ")
    for count in range(len(words), 0, -1):
        if reason := COMMANDS.get(" ".join(words[:count])):
            return reason
    return ""


def why_no_option(name: str, command: str = "") -> str:
    """Return why a command has no such option, "" when podman has none of this name either."""
    name = name.removeprefix("--")
    if command.startswith("pod ") and name in _POD_LIMITS:
        return _POD_LIMIT
    return OPTIONS.get(name, "")
