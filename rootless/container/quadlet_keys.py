"""The keys of Quadlet files, and the options that they mean (podman-systemd.unit(5))."""

KINDS = {".container": "Container", ".volume": "Volume", ".network": "Network", ".image": "Image",
         ".build": "Build", ".pod": "Pod", ".kube": "Kube"}  # fmt: skip

# [Container]: one value
TEXTS = {
    "CgroupsMode": "cgroups", "ContainerName": "name", "HostName": "hostname",
    "WorkingDir": "workdir", "UserNS": "userns",
    "Entrypoint": "entrypoint", "StopSignal": "stop-signal", "StopTimeout": "stop-timeout",
    "Timezone": "tz", "ShmSize": "shm-size", "PidsLimit": "pids-limit", "Memory": "memory",
    "Pull": "pull", "LogDriver": "log-driver", "IP": "ip", "IP6": "ip6",
    "Retry": "retry", "RetryDelay": "retry-delay",
    "HealthCmd": "health-cmd", "HealthInterval": "health-interval",
    "HealthRetries": "health-retries", "HealthTimeout": "health-timeout",
    "HealthStartupCmd": "health-startup-cmd", "HealthStartupInterval": "health-startup-interval",
    "HealthStartupRetries": "health-startup-retries",
    "HealthStartupSuccess": "health-startup-success",
    "HealthStartupTimeout": "health-startup-timeout",
    "HealthMaxLogCount": "health-max-log-count", "HealthMaxLogSize": "health-max-log-size",
    "HealthStartPeriod": "health-start-period", "HealthOnFailure": "health-on-failure",
}  # fmt: skip
# as often as it is written
LISTS = {
    "Volume": "volume", "Mount": "mount", "PublishPort": "publish", "Network": "network",
    "AddHost": "add-host", "AddDevice": "device", "Tmpfs": "tmpfs", "Ulimit": "ulimit",
    "ExposeHostPort": "expose", "DNS": "dns", "DNSSearch": "dns-search", "DNSOption": "dns-option",
    "GroupAdd": "group-add", "Secret": "secret", "EnvironmentFile": "env-file",
    "NetworkAlias": "network-alias", "LogOpt": "log-opt", "UIDMap": "uidmap", "GIDMap": "gidmap",
}  # fmt: skip
# each word of the value
WORDS = {
    "Environment": "env", "Label": "label", "Annotation": "annotation", "AddCapability": "cap-add",
    "DropCapability": "cap-drop", "Sysctl": "sysctl",
}  # fmt: skip
SWITCHES = {
    "ReadOnly": "read-only", "ReadOnlyTmpfs": "read-only-tmpfs", "RunInit": "init",
    "EnvironmentHost": "env-host", "HttpProxy": "http-proxy",
}  # fmt: skip
SECURITY = {
    "SeccompProfile": "seccomp=", "Mask": "mask=", "Unmask": "unmask=", "AppArmor": "apparmor=",
    "SecurityLabelType": "label=type:", "SecurityLabelLevel": "label=level:",
    "SecurityLabelFileType": "label=filetype:",
}  # fmt: skip
SECURITY_SWITCHES = {
    "NoNewPrivileges": "no-new-privileges", "SecurityLabelDisable": "label=disable",
    "SecurityLabelNested": "label=nested",
}  # fmt: skip

# The other kinds: the option; "" where the maker says what the key means.
OTHERS = {
    "Volume": {"VolumeName": "", "Driver": "driver", "Label": "label", "Options": "",
               "Device": "opt device", "Type": "opt type", "Image": "", "User": "", "Group": ""},
    "Network": {"NetworkName": "", "Driver": "driver", "Label": "label", "Subnet": "subnet",
                "Gateway": "gateway", "IPRange": "ip-range", "IPv6": "ipv6", "Internal": "internal",
                "Options": "opt", "DNS": "dns", "DisableDNS": "disable-dns",
                "IPAMDriver": "ipam-driver", "InterfaceName": "interface-name",
                "NetworkDeleteOnStop": ""},
    "Image": {"Image": "", "ImageTag": "", "AuthFile": "authfile", "Creds": "creds",
              "TLSVerify": "tls-verify", "CertDir": "cert-dir", "Policy": "policy",
              "Retry": "retry", "RetryDelay": "retry-delay",
              "Arch": "arch", "OS": "os", "Variant": "variant", "AllTags": "all-tags"},
    "Build": {"ImageTag": "tag", "File": "", "SetWorkingDirectory": "", "Target": "target",
              "Label": "label", "Environment": "env", "Pull": "pull", "Volume": "volume",
              "Network": "network", "Secret": "secret", "AuthFile": "authfile",
              "Annotation": "annotation", "BuildArg": "build-arg", "Arch": "arch",
              "Variant": "variant", "DNS": "dns", "DNSSearch": "dns-search",
              "DNSOption": "dns-option", "ForceRM": "force-rm", "GroupAdd": "group-add",
              "IgnoreFile": "ignorefile", "TLSVerify": "tls-verify", "Retry": "retry",
              "RetryDelay": "retry-delay"},
}  # fmt: skip
POD = {
    "AddHost": "add-host", "DNS": "dns", "DNSOption": "dns-option", "DNSSearch": "dns-search",
    "ExitPolicy": "exit-policy", "HostName": "hostname", "IP": "ip", "IP6": "ip6",
    "Label": "label", "Network": "network", "NetworkAlias": "network-alias",
    "PublishPort": "publish", "ShmSize": "shm-size", "UserNS": "userns", "Volume": "volume",
}  # fmt: skip
KUBE = {
    "ConfigMap": "configmap", "LogDriver": "log-driver", "Network": "network",
    "PublishPort": "publish", "UserNS": "userns",
}  # fmt: skip
SWITCH_OPTIONS = ("ipv6", "internal", "disable-dns", "all-tags", "tls-verify", "force-rm")
WORD_OPTIONS = ("label", "env", "annotation", "build-arg")
