"""The members of podman's `inspect`, as podman 4.3.1 has shown them; without names in maps."""

KEYS = {
    "container": """
        AppArmorProfile Args BoundingCaps Config Config.Annotations Config.AttachStderr
        Config.AttachStdin Config.AttachStdout Config.Cmd Config.CreateCommand Config.Domainname
        Config.Entrypoint Config.Env Config.Healthcheck Config.Healthcheck.Interval
        Config.Healthcheck.Retries Config.Healthcheck.Test Config.Healthcheck.Timeout
        Config.HealthcheckOnFailureAction Config.Hostname Config.Image Config.Labels
        Config.OnBuild Config.OpenStdin Config.Passwd Config.StdinOnce Config.StopSignal
        Config.StopTimeout Config.Timeout Config.Tty Config.Umask Config.User Config.Volumes
        Config.WorkingDir Config.sdNotifyMode ConmonPidFile Created Dependencies Driver
        EffectiveCaps ExecIDs GraphDriver GraphDriver.Data GraphDriver.Name HostConfig
        HostConfig.AutoRemove HostConfig.Binds HostConfig.BlkioDeviceReadBps
        HostConfig.BlkioDeviceReadIOps HostConfig.BlkioDeviceWriteBps
        HostConfig.BlkioDeviceWriteIOps HostConfig.BlkioWeight HostConfig.BlkioWeightDevice
        HostConfig.CapAdd HostConfig.CapDrop HostConfig.Cgroup HostConfig.CgroupConf
        HostConfig.CgroupManager HostConfig.CgroupMode HostConfig.CgroupParent
        HostConfig.Cgroups HostConfig.ConsoleSize HostConfig.ContainerIDFile HostConfig.CpuCount
        HostConfig.CpuPercent HostConfig.CpuPeriod HostConfig.CpuQuota
        HostConfig.CpuRealtimePeriod HostConfig.CpuRealtimeRuntime HostConfig.CpuShares
        HostConfig.CpusetCpus HostConfig.CpusetMems HostConfig.Devices HostConfig.DiskQuota
        HostConfig.Dns HostConfig.DnsOptions HostConfig.DnsSearch HostConfig.ExtraHosts
        HostConfig.GroupAdd HostConfig.IOMaximumBandwidth HostConfig.IOMaximumIOps
        HostConfig.IpcMode HostConfig.Isolation HostConfig.KernelMemory HostConfig.Links
        HostConfig.LogConfig HostConfig.LogConfig.Config HostConfig.LogConfig.Path
        HostConfig.LogConfig.Size HostConfig.LogConfig.Tag HostConfig.LogConfig.Type
        HostConfig.Memory HostConfig.MemoryReservation HostConfig.MemorySwap
        HostConfig.MemorySwappiness HostConfig.NanoCpus HostConfig.NetworkMode
        HostConfig.OomKillDisable HostConfig.OomScoreAdj HostConfig.PidMode HostConfig.PidsLimit
        HostConfig.PortBindings HostConfig.Privileged HostConfig.PublishAllPorts
        HostConfig.ReadonlyRootfs HostConfig.RestartPolicy
        HostConfig.RestartPolicy.MaximumRetryCount HostConfig.RestartPolicy.Name
        HostConfig.Runtime HostConfig.SecurityOpt HostConfig.ShmSize HostConfig.Tmpfs
        HostConfig.UTSMode HostConfig.Ulimits HostConfig.UsernsMode HostConfig.VolumeDriver
        HostConfig.VolumesFrom HostnamePath HostsPath Id Image ImageDigest ImageName IsInfra
        IsService MountLabel Mounts Mounts.Destination Mounts.Driver Mounts.Mode Mounts.Name
        Mounts.Options Mounts.Propagation Mounts.RW Mounts.Source Mounts.Type Name Namespace
        NetworkSettings NetworkSettings.Bridge NetworkSettings.EndpointID
        NetworkSettings.Gateway NetworkSettings.GlobalIPv6Address
        NetworkSettings.GlobalIPv6PrefixLen NetworkSettings.HairpinMode
        NetworkSettings.IPAddress NetworkSettings.IPPrefixLen NetworkSettings.IPv6Gateway
        NetworkSettings.LinkLocalIPv6Address NetworkSettings.LinkLocalIPv6PrefixLen
        NetworkSettings.MacAddress NetworkSettings.Ports NetworkSettings.SandboxID
        NetworkSettings.SandboxKey OCIConfigPath OCIRuntime Path PidFile Pod ProcessLabel
        ResolvConfPath RestartCount Rootfs State State.CheckpointedAt State.Dead State.Error
        State.ExitCode State.FinishedAt State.Health State.Health.FailingStreak State.Health.Log
        State.Health.Status State.OOMKilled State.OciVersion State.Paused State.Pid
        State.Restarting State.RestoredAt State.Running State.StartedAt State.Status StaticDir
    """,
    "volume": """
        CreatedAt Driver Labels MountCount Mountpoint Name NeedsChown NeedsCopyUp Options Scope
    """,
    "secret": """
        CreatedAt ID Spec Spec.Driver Spec.Driver.Name Spec.Driver.Options
        Spec.Driver.Options.path Spec.Labels Spec.Name UpdatedAt
    """,
    "image": """
        Annotations Architecture Author Comment Config Config.Cmd Config.Labels Created Digest
        GraphDriver GraphDriver.Data GraphDriver.Name History Id Labels ManifestType
        NamesHistory Os Parent RepoDigests RepoTags RootFS RootFS.Layers RootFS.Type Size User
        Version VirtualSize
    """,
    "network": """
        created dns_enabled driver id internal ipam_options ipam_options.driver ipv6_enabled
        name network_interface subnets subnets.gateway subnets.subnet
    """,
    "pod": """
        CgroupParent CgroupPath Containers Containers.Id Containers.Name Containers.State
        CreateCgroup CreateCommand CreateInfra Created ExitPolicy Hostname Id InfraConfig
        InfraConfig.DNSOption InfraConfig.DNSSearch InfraConfig.DNSServer InfraConfig.HostAdd
        InfraConfig.HostNetwork InfraConfig.NetworkOptions InfraConfig.Networks
        InfraConfig.NoManageHosts InfraConfig.NoManageResolvConf InfraConfig.PortBindings
        InfraConfig.StaticIP InfraConfig.StaticMAC InfraConfig.pid_ns InfraConfig.userns
        InfraConfig.uts_ns InfraContainerID Name NumContainers SharedNamespaces State
    """,
}
