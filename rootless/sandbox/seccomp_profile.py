"""The system calls that a container may make: the policy behind every `run` without options.

An allow list in the spirit of podman's, so that what runs there runs here, nested containers
included. Three outcomes besides "allowed":

* ENOSYS for everything unnamed. To a program that is a kernel without the call, and it falls back;
  EPERM would make new C libraries fail.
* EPERM for calls that exist everywhere but that a container has no business with.
* EPERM for calls that need a capability which the container does not have. The kernel would refuse
  most of them too; here they do not even reach its code.
"""

import errno

from rootless.sandbox.bpf import Compare, Rule
from rootless.sandbox.seccomp_compiler import ALLOW, ERRNO, NO_SUCH_CALL, Policy

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

_FILES = """
    open openat openat2 creat close close_range read write readv writev pread64 pwrite64 preadv
    preadv2 pwritev pwritev2 lseek _llseek readahead fadvise64 fadvise64_64 arm_fadvise64_64
    sendfile sendfile64 splice tee copy_file_range fallocate truncate truncate64 ftruncate
    ftruncate64 fsync fdatasync sync syncfs sync_file_range arm_sync_file_range
    dup dup2 dup3 fcntl fcntl64 ioctl flock cachestat
    stat stat64 lstat lstat64 fstat fstat64 fstatat64 newfstatat statx statfs statfs64 fstatfs
    fstatfs64 access faccessat faccessat2 readlink readlinkat getdents getdents64 readdir getcwd
    chdir fchdir chmod fchmod fchmodat fchmodat2 chown chown32 fchown fchown32 fchownat lchown
    lchown32 utime utimes utimensat utimensat_time64 futimesat umask
    link linkat symlink symlinkat unlink unlinkat rename renameat renameat2 mkdir mkdirat rmdir
    mknod mknodat name_to_handle_at file_getattr file_setattr
    getxattr lgetxattr fgetxattr getxattrat setxattr lsetxattr fsetxattr setxattrat listxattr
    llistxattr flistxattr listxattrat removexattr lremovexattr fremovexattr removexattrat
    inotify_init inotify_init1 inotify_add_watch inotify_rm_watch fanotify_mark
"""

# Mounting needs CAP_SYS_ADMIN over the mount namespace: a container that makes a user namespace
# of its own has it there, and nowhere else.
_NAMESPACES = """
    mount umount umount2 mount_setattr move_mount open_tree open_tree_attr fsopen fsconfig fsmount
    fspick pivot_root statmount listmount unshare setns
"""

_MEMORY = """
    brk mmap mmap2 munmap mremap mprotect madvise mincore msync mlock mlock2 mlockall munlock
    munlockall remap_file_pages memfd_create memfd_secret membarrier pkey_alloc pkey_free
    pkey_mprotect mseal map_shadow_stack get_mempolicy set_mempolicy set_mempolicy_home_node mbind
    process_mrelease
"""

_PROCESSES = """
    clone clone3 fork vfork execve execveat exit exit_group wait4 waitid waitpid getpid getppid
    gettid getpgid getpgrp setpgid getsid setsid set_tid_address get_robust_list set_robust_list
    rseq futex futex_time64 futex_waitv futex_wake futex_wait futex_requeue restart_syscall
    get_thread_area set_thread_area set_tls breakpoint cacheflush arch_prctl modify_ldt uretprobe
    uprobe prctl seccomp landlock_create_ruleset landlock_add_rule landlock_restrict_self
    ptrace process_vm_readv process_vm_writev pidfd_open pidfd_getfd pidfd_send_signal
    capget capset keyctl getpriority setpriority ioprio_get ioprio_set
    getrlimit ugetrlimit setrlimit prlimit64 getrusage times
    sched_yield sched_getaffinity sched_setaffinity sched_getattr sched_setattr sched_getparam
    sched_setparam sched_getscheduler sched_setscheduler sched_get_priority_max
    sched_get_priority_min sched_rr_get_interval sched_rr_get_interval_time64 getcpu
    uname sysinfo syslog getrandom reboot
"""

_IDENTITY = """
    getuid getuid32 geteuid geteuid32 getgid getgid32 getegid getegid32 getresuid getresuid32
    getresgid getresgid32 getgroups getgroups32 setuid setuid32 setgid setgid32 setreuid setreuid32
    setregid setregid32 setresuid setresuid32 setresgid setresgid32 setfsuid setfsuid32 setfsgid
    setfsgid32 setgroups setgroups32
"""

_SIGNALS = """
    kill tkill tgkill pause alarm signal sigaction sigaltstack sigpending sigprocmask sigreturn
    sigsuspend signalfd signalfd4 rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo
    rt_tgsigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait rt_sigtimedwait_time64
"""

_TIME = """
    time gettimeofday clock_gettime clock_gettime64 clock_getres clock_getres_time64
    clock_nanosleep clock_nanosleep_time64 nanosleep adjtimex clock_adjtime clock_adjtime64
    getitimer setitimer timer_create timer_delete timer_getoverrun timer_gettime timer_gettime64
    timer_settime timer_settime64 timerfd_create timerfd_gettime timerfd_gettime64
    timerfd_settime timerfd_settime64
"""

_WAITING = """
    poll ppoll ppoll_time64 select _newselect pselect6 pselect6_time64 epoll_create epoll_create1
    epoll_ctl epoll_ctl_old epoll_wait epoll_wait_old epoll_pwait epoll_pwait2 eventfd eventfd2
    io_setup io_destroy io_submit io_cancel io_getevents
"""

# `socket` itself is decided by its arguments, below.
_COMMUNICATION = """
    pipe pipe2 socketcall socketpair bind connect listen accept accept4 getsockname getpeername
    getsockopt setsockopt shutdown send sendto sendmsg sendmmsg recv recvfrom recvmsg recvmmsg
    recvmmsg_time64
    ipc semget semctl semop semtimedop semtimedop_time64 shmget shmctl shmat shmdt msgget msgctl
    msgsnd msgrcv mq_open mq_unlink mq_notify mq_getsetattr mq_timedsend mq_timedsend_time64
    mq_timedreceive mq_timedreceive_time64
"""

_ALLOWED = (
    _FILES,
    _NAMESPACES,
    _MEMORY,
    _PROCESSES,
    _IDENTITY,
    _SIGNALS,
    _TIME,
    _WAITING,
    _COMMUNICATION,
)

# Replacing the kernel, moving other processes' pages, swap, dead interfaces, and two that have
# been the tools of many exploits: userfaultfd (stops the kernel in the middle of a copy) and
# vmsplice.
_DENIED = """
    kexec_load kexec_file_load swapon swapoff migrate_pages move_pages userfaultfd vmsplice
    io_pgetevents bdflush nfsservctl nice oldfstat oldlstat oldstat oldolduname olduname sgetmask
    ssetmask sysfs uselib ustat vm86 vm86old pciconfig_iobase pciconfig_read
    pciconfig_write
"""

# Allowed with the capability, EPERM without.
_BY_CAPABILITY = {
    "CAP_DAC_READ_SEARCH": "open_by_handle_at",
    "CAP_SYS_ADMIN": (
        "bpf fanotify_init lookup_dcookie perf_event_open quotactl quotactl_fd setdomainname "
        "sethostname"
    ),
    "CAP_SYS_CHROOT": "chroot",
    "CAP_SYS_MODULE": "init_module finit_module delete_module query_module",
    "CAP_SYS_PACCT": "acct",
    "CAP_SYS_PTRACE": "kcmp process_madvise",
    "CAP_SYS_RAWIO": "iopl ioperm",
    "CAP_SYS_TIME": "settimeofday stime clock_settime clock_settime64",
    "CAP_SYS_TTY_CONFIG": "vhangup",
}
_AUDIT = "CAP_AUDIT_WRITE"

# Whose 32-bit programs run too. x32 is left out: distributions ship kernels with it switched off,
# so its calls answer ENOSYS there as they do here, and the filter is a third shorter.
_ALSO = {"x86_64": ("i386",), "aarch64": ("arm",)}

# All capabilities on which the policy depends: filters are the same for sets that agree in these.
RELEVANT = frozenset((*_BY_CAPABILITY, _AUDIT))

# The kernel looks at 32 bits of these arguments; comparing 64 would let a caller set a high bit
# and slip through.
_INT = 0xFFFFFFFF

# personality(2): PER_LINUX, PER_LINUX32, both with UNAME26, and the question what it is now.
# Anything else can switch off address randomization or make page zero readable.
_PERSONALITIES = (0x0, 0x8, 0x20000, 0x20008, 0xFFFFFFFF)

_AF_NETLINK = 16
_AF_ALG = 38
_AF_VSOCK = 40
_NETLINK_AUDIT = 9


def default_policy(architecture: str, capabilities: "Iterable[str]") -> Policy:
    """Return the policy for an architecture (and those it can run) and a bounding set."""
    held = frozenset(capabilities)
    allow = (Rule(ALLOW),)
    deny = (Rule(ERRNO | errno.EPERM),)
    rules: dict[str, tuple[Rule, ...]] = {}
    for text in _ALLOWED:
        rules.update(dict.fromkeys(text.split(), allow))
    rules.update(dict.fromkeys(_DENIED.split(), deny))
    for capability, names in _BY_CAPABILITY.items():
        rules.update(dict.fromkeys(names.split(), allow if capability in held else deny))
    rules["personality"] = tuple(
        Rule(ALLOW, (Compare(0, "masked", _INT, value),)) for value in _PERSONALITIES
    )
    rules["socket"] = _socket_rules(_AUDIT in held)
    return Policy(NO_SUCH_CALL, rules, (architecture, *_ALSO.get(architecture, ())))


def _socket_rules(audit: bool) -> tuple[Rule, ...]:
    """Refuse the families that lead past the namespaces.

    AF_VSOCK talks to the hypervisor and knows no network namespace; AF_ALG drives the kernel's
    crypto code with the caller's data and has a long record of holes. Audit messages without the
    capability: EINVAL makes PAM and sshd go on, as on a kernel without audit.
    """
    family = [
        Rule(ERRNO | errno.EAFNOSUPPORT, (Compare(0, "masked", _INT, number),))
        for number in (_AF_ALG, _AF_VSOCK)
    ]
    if not audit:
        family.append(
            Rule(
                ERRNO | errno.EINVAL,
                (
                    Compare(0, "masked", _INT, _AF_NETLINK),
                    Compare(2, "masked", _INT, _NETLINK_AUDIT),
                ),
            )
        )
    return (*family, Rule(ALLOW))
