"""Building images."""

from rootless.cli.limit_options import resource_options
from rootless.cli.table import (
    DIRECTORIES,
    FILES,
    IMAGES,
    SIZE,
    Argument,
    Command,
    flag,
    many,
    number,
    text,
)

_LANGUAGE = (
    many("file", "Containerfile, - for standard input; several are read as one", short="f",
         metavar="FILE", objects=FILES),
    many("build-arg", "Value of an ARG; without =VALUE that of the caller's variable",
         metavar="NAME[=VALUE]"),
    many("build-context", "Further source for FROM, COPY --from and mounts: a directory, a URL, "
         "git, docker-image://IMAGE", metavar="NAME=WHERE"),
    text("target", "Stage to build instead of the last one", metavar="STAGE"),
    text("from", "Image in the place of the first FROM", metavar="IMAGE", objects=IMAGES),
    text("ignorefile", "File with patterns of what is left out of the context", metavar="FILE",
         objects=FILES),
    flag("check", "Only look for what is wrong or doubtful in the Containerfile"),
    text("call", "build; check, as --check; targets: list the stages; outline: list the arguments "
         "and secrets of the target", default="build",
         choices=("build", "check", "lint", "targets", "outline")),
    flag("skip-unused-stages", "Leave out the stages that the target does not need", default=True),
)  # fmt: skip
_RESULT = (
    many("tag", "Name of the image", short="t", metavar="NAME[:TAG]"),
    many("label", "Label of the image", metavar="NAME=VALUE"),
    many("annotation", "Annotation of the image's manifest", metavar="NAME=VALUE"),
    many("env", "Variable of the image, and of every RUN", metavar="NAME[=VALUE]"),
    many("unsetenv", "Variable of the base image to leave out", metavar="NAME"),
    flag("inherit-labels", "Keep the labels of the base image", default=True),
    flag("identity-label", "Label the image with the version of rpod: io.rpod.version"),
    many("unsetlabel", "Label of the base image to leave out", metavar="NAME"),
    text("format", "Media types of the image", default="oci", choices=("oci", "docker")),
    text("iidfile", "Write the image's id to a file", metavar="FILE", objects=FILES),
    text("metadata-file", "Write digests and names of the image to a file, as JSON",
         metavar="FILE", objects=FILES),
    many("output", "Where the result goes: a directory, - for a tar archive on standard output, or "
         "type=local|tar|oci|docker|image|registry with dest=, name=, push=, tar=", short="o",
         metavar="DIR|type=TYPE[,KEY=VALUE...]"),
    flag("push", "The same as --output type=registry"),
    flag("load", "The same as --output type=image"),
    text("manifest", "List to which the images are added, one for each platform",
         metavar="NAME[:TAG]"),
    flag("squash", "Put the layers that are new into one"),
    flag("squash-all", "Put all layers into one, the base image's as well"),
    text("timestamp", "Time of the image and of all its new files, in seconds since 1970",
         metavar="SECONDS"),
    text("source-date-epoch", "Time of the image, and the latest of its new files; default: the "
         "variable SOURCE_DATE_EPOCH", metavar="SECONDS"),
    flag("omit-history", "Leave the history of the image out"),
    flag("rewrite-timestamp", "Let --source-date-epoch apply to files, too", default=True),
)  # fmt: skip
_CACHE = (
    flag("no-cache", "Execute every step"),
    many("no-cache-filter", "Execute every step of these stages", kind="commas", metavar="STAGE"),
    text("cache-ttl", "Do not use what was made longer ago, as 1h or 30m", metavar="DURATION"),
    many("cache-from", "Repository in a registry to read steps from", metavar="REPOSITORY"),
    many("cache-to", "Repository in a registry to write steps to", metavar="REPOSITORY"),
    flag("explain-cache", "Say for each step why it was executed or found"),
    flag("layers", "Give each step a layer of its own in the image", default=True),
)  # fmt: skip
_RUN = (
    many("add-host", "Line of /etc/hosts for RUN", metavar="HOST:IP"),
    many("allow", "What RUN --security and --network may ask for", metavar="ENTITLEMENT",
         choices=("security.insecure", "network.host")),
    many("cap-add", "Capability that RUN gets", metavar="CAPABILITY", kind="commas"),
    many("cap-drop", "Capability that RUN does not get", metavar="CAPABILITY", kind="commas"),
    many("device", "Device that RUN sees", metavar="DEVICE"),
    many("dns", "Name server for RUN", metavar="IP"),
    many("dns-option", "Option of resolv.conf for RUN", metavar="OPTION"),
    many("dns-search", "Search domain for RUN", metavar="DOMAIN"),
    many("group-add", "Further groups of the processes of RUN", metavar="GROUP", kind="commas"),
    flag("http-proxy", "Give RUN the caller's proxy variables", default=True),
    text("network", "Network of RUN: none, host, slirp4netns, pasta", metavar="MODE",
         aliases=("net",)),
    flag("no-hosts", "Leave the image's /etc/hosts as it is"),
    text("cgroupns", "Control group namespace of RUN: private or host", default="private",
         choices=("private", "container", "host")),
    text("ipc", "IPC namespace of RUN: private or host", default="private",
         choices=("private", "container", "host")),
    text("pid", "Process namespace of RUN: private or host", default="private",
         choices=("private", "container", "host")),
    text("uts", "Host name namespace of RUN: private or host", default="private",
         choices=("private", "container", "host")),
    text("userns", "User namespace of RUN: always the one with all your subordinate ids",
         default="container", choices=("container", "host", "private")),
    flag("stdin", "Let RUN read standard input; its steps are never taken from the cache"),
    text("isolation", "How RUN is kept apart from the host: by namespaces of its own, or chroot: it"
         " shares processes, network, host name and IPC, for builds in a container"
         " (BUILDAH_ISOLATION)",
         default="default", choices=("default", "rootless", "oci", "chroot")),
    many("secret", "Confidential file or variable for RUN --mount=type=secret",
         metavar="id=NAME[,src=PATH|,env=NAME]"),
    many("security-opt", "Security option for RUN", metavar="OPTION"),
    text("root-emulation", "With a single id: what steps see of root; auto is full here:"
         " stat, too", default="auto", choices=("auto", "full", "bpf", "off")),
    number("shm-size", "Size of /dev/shm for RUN", kind=SIZE, default=64 << 20, metavar="SIZE"),
    many("ssh", "Agent or keys for RUN --mount=type=ssh", metavar="default|ID[=SOCKET|=KEY...]"),
    many("ulimit", "Limit of processes of RUN", metavar="NAME=SOFT[:HARD]"),
    text("limits", "strict: a limit that cannot be enforced is an error; best-effort",
         default="strict", choices=("strict", "best-effort")),
    *resource_options(),
    text("cgroup-parent", "Slice, or with cgroupfs directory, for the cgroups of RUN", default="",
         metavar="NAME"),
    many("cgroup-conf", "Write a file of the cgroup, such as memory.high=1073741824",
         metavar="FILE=VALUE"),
    many("volume", "Directory that RUN sees; it is not part of the image", short="v",
         metavar="SOURCE:TARGET[:OPTIONS]"),
)  # fmt: skip
_FETCH = (
    text("pull", "When to pull base images; alone it means always", default="missing",
         metavar="POLICY"),
    flag("pull-always", "The same as --pull=always"),
    flag("pull-never", "The same as --pull=never"),
    many("platform", "OS/ARCHITECTURE[/VARIANT] to build for", metavar="PLATFORM", kind="commas"),
    text("arch", "Architecture to build for", metavar="ARCH"),
    text("os", "Operating system to build for", metavar="OS"),
    text("variant", "Variant of the architecture", metavar="VARIANT"),
    text("authfile", "File with credentials of registries", metavar="FILE", objects=FILES),
    text("cert-dir", "Directory with certificates for registries", metavar="DIR",
         objects=DIRECTORIES),
    text("creds", "Credentials for the registry", metavar="USER[:PASSWORD]"),
    flag("compress", "Accepted; the context is not sent anywhere"),
    flag("disable-content-trust", "Accepted; means nothing here"),
    number("retry", "How often a failed transfer is repeated", default=3),
    text("retry-delay", "Wait before the first repetition", default="2s", metavar="DURATION"),
    flag("tls-verify", "Check the certificates of registries", default=None),
)  # fmt: skip
_COURSE = (
    number("jobs", "How many stages are built at once; 0 means as many as there are processors",
           default=0),
    flag("debug-on-failure", "Open a shell in what a failing RUN has left, on the terminal"),
    flag("quiet", "Print nothing but the image's id", short="q"),
    text("progress", "How the course of the build is shown", default="auto",
         choices=("auto", "plain", "tty", "rawjson", "quiet")),
    text("logfile", "Write what is shown to a file", metavar="FILE", objects=FILES),
    flag("rm", "Accepted; nothing is left of a step's container", default=True),
    flag("force-rm", "Accepted; nothing is left of a step's container", default=True),
)  # fmt: skip

COMMANDS = (
    Command(
        "build",
        "Build an image from a Containerfile",
        "build:build",
        (*_LANGUAGE, *_RESULT, *_CACHE, *_RUN, *_FETCH, *_COURSE),
        (Argument("context", 0, 1, "[CONTEXT]", DIRECTORIES),),
        aliases=("image build", "builder build", "buildx build"),
        description="CONTEXT is a directory, - for a tar archive or a Containerfile on standard "
        "input, the URL of an archive, or a git repository. The Containerfile is named "
        "Containerfile or Dockerfile. Stages that do not need each other are built side by side, "
        "and those that nothing needs are not built. Each step is found in the cache by "
        "everything that it can see. Prints the image's id.",
        examples=(
            "rpod build -t app .",
            "rpod build -t app --target tests --build-arg VERSION=2 .",
            "rpod build --secret id=token,src=token.txt -f deploy/Containerfile -t app .",
        ),
    ),
)
