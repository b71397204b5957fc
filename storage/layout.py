"""Every path in the store and in the run root.

    <store>/                        what lasts; default $XDG_DATA_HOME/rpod
      version                       format of the store, a decimal number
      oci-layout  index.json        OCI image-spec, image layout: other tools read it in place
      blobs/sha256/<hex>            manifests, configs and layers, byte for byte as they came
      partial/<hex>                 the arrived bytes of a blob that is still being fetched
      images/<manifest hex>.json    one record for each image; .gone: its garbage is to be removed
      names/<escaped reference>     one record for each name: the manifest digest it stands for
      layers/<map key>/<chain hex>/ an unpacked layer: layer.json, diff/
      containers/<id>/              OCI runtime bundle and records of a container
      container-names/<name>        the id of the container that has the name
      pods/<id>/                    pod.json, lock; members/<id> for each container in the pod
      pod-names/<name>              the id of the pod that has the name
      volumes/<name>/               volume.json, _data/
      secrets/<name>/               secret.json, data
      build-cache/                  steps that builds have made: `storage.build_cache`
      networks/<name>.json          a user-defined network
      tmp/                          what is being built or thrown away; each entry has its lock
      locks/                        flock(2) files, empty
      squash/<image id>.<kind>.sqfs an image as one file, in stores that others read
      leases/  nodes/<boot id>      there: storage.leases, and what each machine has of its own
      kept-here                     on a node: when the home was last too full for what is made
      runroot                       boot id and path of the run root in use since this boot
    <run root>/                     what one boot owns; default $XDG_RUNTIME_DIR/rpod
      host.json                     what was found out about this host
      exits/<id>                    exit code of a container that --rm has removed, for who waits
      containers/<id>/              of a running container: lock, stopped, mounted, and attach.sock,
                                    emulation.sock, network.sock
      networks/<id>/                lock, helper.sock, endpoints/<container id> of a network in use

A directory under its final name is complete. Files on disk carry host ids, so an unpacked layer
belongs to the id map that it was unpacked with: that is the map key (`storage.layers.map_key`).
"""

VERSION = 1


class ContainerPaths:
    """Paths of one container; `directory` is its bundle, `run_dir` its part of the run root."""

    __slots__ = ("directory", "run_dir")

    def __init__(self, directory: str, run_dir: str) -> None:
        self.directory = directory
        self.run_dir = run_dir

    @property
    def config(self) -> str:
        """OCI runtime-spec, config.json."""
        return f"{self.directory}/config.json"

    @property
    def record(self) -> str:
        """What was asked for; written once, replaced by rename."""
        return f"{self.directory}/container.json"

    @property
    def state(self) -> str:
        """What has happened: written by the monitor at start and at the end."""
        return f"{self.directory}/state.json"

    @property
    def upper(self) -> str:
        return f"{self.directory}/upper"

    @property
    def work(self) -> str:
        return f"{self.directory}/work"

    @property
    def copied(self) -> str:
        """Made when the image had been copied, where the root is a copy."""
        return f"{self.work}/copied"

    @property
    def rootfs(self) -> str:
        return f"{self.directory}/rootfs"

    @property
    def etc(self) -> str:
        """hosts, resolv.conf, hostname and .containerenv, bound into the container."""
        return f"{self.directory}/etc"

    @property
    def log(self) -> str:
        return f"{self.directory}/ctr.log"

    @property
    def secrets(self) -> str:
        """What the container sees at /run/secrets."""
        return f"{self.directory}/secrets"

    @property
    def overlays(self) -> str:
        """What is written to overlays over mounts of the container."""
        return f"{self.directory}/overlays"

    @property
    def secret_env(self) -> str:
        """Variables whose values are secrets: they are in no other record."""
        return f"{self.directory}/secret-env.json"

    @property
    def health(self) -> str:
        """What the checks of this start have found so far."""
        return f"{self.directory}/health.json"

    @property
    def stopped(self) -> str:
        """Is there when the user has asked the running container to end: it stays ended."""
        return f"{self.run_dir}/stopped"

    @property
    def dependents(self) -> str:
        """One empty file for each container that shares a namespace of this one, named by its id.

        An entry is made before its container, so it may name one that never came to be.
        """
        return f"{self.directory}/dependents"

    @property
    def lock(self) -> str:
        return f"{self.run_dir}/lock"

    @property
    def attach_socket(self) -> str:
        return f"{self.run_dir}/attach.sock"

    @property
    def emulation_socket(self) -> str:
        return f"{self.run_dir}/emulation.sock"

    @property
    def network_socket(self) -> str:
        return f"{self.run_dir}/network.sock"

    @property
    def mounted(self) -> str:
        """Is there when `mount` has mounted the root in some session since the boot."""
        return f"{self.run_dir}/mounted"

    @property
    def traffic(self) -> str:
        """Bytes of published ports: two numbers that the forwarder writes."""
        return f"{self.run_dir}/traffic"


class Layout:
    """The one place that knows where things lie.

    `additional` are the directories of stores that are only read: `storage.shared`. `layer_limits`
    is what the user has set for layers: `storage.limits`. `shared` is the additional store in which
    the user's own images are kept because `store` is on this machine alone, empty where it is not.
    """

    __slots__ = ("additional", "layer_limits", "run_root", "shared", "store")

    def __init__(
        self,
        store: str,
        run_root: str,
        additional: tuple[str, ...] = (),
        layer_limits: tuple[int, ...] = (),
        shared: str = "",
    ) -> None:
        self.shared = shared
        self.layer_limits = layer_limits
        self.store = store
        self.run_root = run_root
        self.additional = additional

    @property
    def version_file(self) -> str:
        return f"{self.store}/version"

    @property
    def runroot_file(self) -> str:
        return f"{self.store}/runroot"

    @property
    def kept_here_file(self) -> str:
        return f"{self.store}/kept-here"

    @property
    def oci_layout_file(self) -> str:
        return f"{self.store}/oci-layout"

    @property
    def index_file(self) -> str:
        return f"{self.store}/index.json"

    @property
    def blobs_dir(self) -> str:
        return f"{self.store}/blobs/sha256"

    def blob(self, digest: str) -> str:
        """Path of a blob; `digest` is `sha256:<hex>`, checked before it gets here."""
        return f"{self.store}/blobs/sha256/{digest.removeprefix('sha256:')}"

    @property
    def partial_dir(self) -> str:
        return f"{self.store}/partial"

    def partial(self, digest: str) -> str:
        return f"{self.store}/partial/{digest.removeprefix('sha256:')}"

    @property
    def images_dir(self) -> str:
        return f"{self.store}/images"

    def image_record(self, manifest_digest: str) -> str:
        return f"{self.store}/images/{manifest_digest.removeprefix('sha256:')}.json"

    def gone_record(self, manifest_digest: str) -> str:
        """The record of a removed image, until what only it needed is collected."""
        return f"{self.store}/images/{manifest_digest.removeprefix('sha256:')}.gone"

    @property
    def names_dir(self) -> str:
        return f"{self.store}/names"

    def layers_dir(self, map_key: str) -> str:
        return f"{self.store}/layers/{map_key}"

    @property
    def all_layers_dir(self) -> str:
        return f"{self.store}/layers"

    def layer(self, map_key: str, chain_id: str) -> str:
        return f"{self.store}/layers/{map_key}/{chain_id.removeprefix('sha256:')}"

    def layer_diff(self, map_key: str, chain_id: str) -> str:
        return f"{self.layer(map_key, chain_id)}/diff"

    @property
    def containers_dir(self) -> str:
        return f"{self.store}/containers"

    def container(self, container_id: str) -> ContainerPaths:
        return ContainerPaths(
            f"{self.store}/containers/{container_id}", f"{self.run_root}/containers/{container_id}"
        )

    @property
    def container_names_dir(self) -> str:
        return f"{self.store}/container-names"

    @property
    def pods_dir(self) -> str:
        return f"{self.store}/pods"

    def pod(self, pod_id: str) -> str:
        return f"{self.store}/pods/{pod_id}"

    def pod_member(self, pod_id: str, container_id: str) -> str:
        """Made before the container of that id, so it may name one that never came to be."""
        return f"{self.store}/pods/{pod_id}/members/{container_id}"

    @property
    def pod_names_dir(self) -> str:
        return f"{self.store}/pod-names"

    @property
    def volumes_dir(self) -> str:
        """What is in a volume is to last, so it is where images are."""
        return f"{self.shared or self.store}/volumes"

    def volume(self, name: str) -> str:
        return f"{self.volumes_dir}/{name}"

    def volume_data(self, name: str) -> str:
        return f"{self.volumes_dir}/{name}/_data"

    @property
    def secrets_dir(self) -> str:
        return f"{self.store}/secrets"

    def secret(self, name: str) -> str:
        return f"{self.store}/secrets/{name}"

    @property
    def build_files_dir(self) -> str:
        """Digests of files that builds have read, and files that they have downloaded."""
        return f"{self.store}/build-cache/files"

    def build_digests(self, identity: str) -> str:
        """Digests of the files of one context, by their stat data: `storage.build.stat_cache`."""
        return f"{self.store}/build-cache/files/context-{identity}"

    def build_input(self, question: str) -> str:
        """The digest of what one COPY takes out of unpacked layers."""
        return f"{self.store}/build-cache/files/input-{question}"

    def build_download(self, name: str) -> str:
        """A downloaded file, by its digest, or the record of a URL, by a hash of that."""
        return f"{self.store}/build-cache/files/download-{name}"

    @property
    def build_cache_dir(self) -> str:
        return f"{self.store}/build-cache"

    @property
    def build_steps_dir(self) -> str:
        return f"{self.store}/build-cache/steps"

    @property
    def build_last_dir(self) -> str:
        return f"{self.store}/build-cache/last"

    @property
    def build_mounts_dir(self) -> str:
        return f"{self.store}/build-cache/mounts"

    @property
    def networks_dir(self) -> str:
        return f"{self.store}/networks"

    def network_run_dir(self, network_id: str) -> str:
        return f"{self.run_root}/networks/{network_id}"

    @property
    def networks_run_dir(self) -> str:
        return f"{self.run_root}/networks"

    @property
    def tmp_dir(self) -> str:
        return f"{self.store}/tmp"  # noqa: S108 - a directory of the store

    def lock(self, name: str) -> str:
        return f"{self.store}/locks/{name}"

    def squash_file(self, image_id: str, kind: str) -> str:
        """One squashfs of an image; `kind` tells by whose ids the owners in it are."""
        return f"{self.squash_dir}/{image_id}.{kind}.sqfs"

    @property
    def squash_dir(self) -> str:
        return f"{self.store}/squash"

    @property
    def leases_dir(self) -> str:
        return f"{self.store}/leases"

    @property
    def locks_dir(self) -> str:
        return f"{self.store}/locks"

    @property
    def exits_dir(self) -> str:
        return f"{self.run_root}/exits"

    @property
    def host_file(self) -> str:
        return f"{self.run_root}/host.json"
