"""Commands on documents of Kubernetes: play, down, generate."""

from rootless.cli.table import (
    COMMAS,
    CONTAINERS,
    DIRECTORIES,
    FILES,
    NETWORKS,
    UNLIMITED,
    Argument,
    Command,
    flag,
    many,
    number,
    text,
)

_FILE = Argument("file", 1, 1, "FILE|-", FILES)

COMMANDS = (
    Command(
        "kube play",
        "Make and start the pods that a file of Kubernetes describes",
        "kube:play",
        (
            many("annotation", "Attach an annotation to the pods", metavar="KEY=VALUE",
                 kind=COMMAS),
            text("authfile", "File with registry credentials", metavar="FILE", objects=FILES),
            flag("build", "Build images that the context has a directory for, also those that are "
                 "there; without it those that are not; false: none", default=None),
            text("cert-dir", "Directory with certificates of authorities to trust", metavar="DIR",
                 objects=DIRECTORIES),
            many("configmap", "Take config maps out of another file", metavar="FILE", kind=COMMAS,
                 objects=FILES),
            text("context-dir", "With --build: directory with a directory for each image to build; "
                 "by default the working directory", metavar="DIR", objects=DIRECTORIES),
            text("creds", "Credentials for the registry", metavar="USER:PASSWORD"),
            flag("down", "Take the pods down instead; as kube down"),
            flag("force", "With --down: remove volumes, too"),
            many("ip", "Address of the pods, one after the other", metavar="ADDRESS"),
            text("limits", "strict: a limit that cannot be enforced is an error; best-effort",
                 default="strict", choices=("strict", "best-effort")),
            text("log-driver", "Where the output is kept: k8s-file or none", default="k8s-file",
                 metavar="DRIVER"),
            many("log-opt", "path=FILE, max-size=SIZE, max-file=NUMBER, tag=TEXT",
                 metavar="NAME=VALUE"),
            many("mac-address", "Hardware address of the pods, one after the other",
                 metavar="ADDRESS"),
            many("network", "Network of the pods: slirp4netns[:OPTIONS], pasta, none, host, or the "
                 "name of one made by `network create`", metavar="MODE|NAME[:OPTIONS]",
                 aliases=("net",), objects=NETWORKS),
            flag("no-hosts", "Leave the images' /etc/hosts as they are"),
            many("publish", "Publish a port of the pods: [[IP:][HOST]:]CONTAINER[/PROTOCOL]",
                 metavar="PORTS", kind=COMMAS),
            flag("publish-all", "Publish containerPorts without a hostPort as well"),
            flag("quiet", "No progress while images are fetched", short="q"),
            flag("replace", "Remove pods of the same names first"),
            text("seccomp-profile-root", "Directory below which a localhostProfile is looked up",
                 default="/var/lib/kubelet/seccomp", metavar="DIR", objects=DIRECTORIES),
            flag("start", "Start the pods", default=True),
            flag("tls-verify", "Demand HTTPS and a certificate that can be verified",
                 default=None),
            text("userns", "User namespace of the pods: host, keep-id[:uid=N,gid=N], nomap",
                 metavar="MODE"),
        ),
        (_FILE,),
        aliases=("play kube",),
        description="Pod, and one pod for each Deployment, DaemonSet or Job; ConfigMap, Secret and "
        "PersistentVolumeClaim. Volumes: hostPath, emptyDir, configMap, secret, "
        "persistentVolumeClaim. A liveness probe becomes a health check. Nothing stays of a file "
        "that cannot be played to its end. A file of - is standard input.",
        examples=("rpod kube play app.yaml", "rpod kube play --replace app.yaml"),
    ),
    Command(
        "kube down",
        "Stop and remove the pods that a file of Kubernetes describes",
        "kube:down",
        (flag("force", "Remove the volumes of PersistentVolumeClaims, too"),),
        (_FILE,),
        examples=("rpod kube down app.yaml",),
    ),
    Command(
        "kube generate",
        "Print a file of Kubernetes that describes pods, containers and volumes",
        "kube:generate",
        (
            text("filename", "Write to a file that must not exist", short="f", metavar="FILE",
                 objects=FILES),
            number("replicas", "Replicas of a Deployment", short="r", default=1),
            flag("service", "Describe a Service for the published ports, too", short="s"),
            text("type", "What the pod becomes", short="t", default="pod",
                 choices=("pod", "deployment")),
        ),
        (Argument("names", 1, UNLIMITED, "POD|CONTAINER|VOLUME...", CONTAINERS),),
        aliases=("generate kube",),
        examples=("rpod kube generate app > app.yaml",),
    ),
)  # fmt: skip
