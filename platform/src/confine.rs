//! Confinement of workers and of the recorder, by the kernel. A confined worker may read its command
//! log, talk to the supervisor and render. A confined recorder may also write into one folder.
//!
//! Landlock restricts files, TCP and signals to other processes; seccomp restricts system calls. A
//! refused operation fails with an error number and never kills the process: both replicas do the same
//! work, so what kills one would kill the other. Therefore nothing that a worker needs may depend on a
//! refused call. This is no sandbox for hostile code: shared memory stays writable.

use std::path::Path;

/// The restrictions that are in force since [`worker`] or [`recorder`] was called. For a mechanism that
/// the kernel does not offer, the error gives the reason.
#[derive(Debug)]
pub struct Confined {
    /// Landlock: files, TCP and signals.
    pub files: Result<(), String>,
    /// Seccomp: system calls.
    pub calls: Result<(), String>,
}

impl Confined {
    /// One line for each mechanism that is missing; nothing if both are in force.
    pub fn skipped(&self) -> impl Iterator<Item = String> {
        let nets = [("landlock", &self.files), ("seccomp", &self.calls)];
        nets.into_iter().filter_map(|(net, held)| {
            let why = held.as_ref().err()?;
            Some(format!(
                "{net} is unavailable ({why}); the process continues without it"
            ))
        })
    }
}

/// Confines the calling thread and every thread that it starts from now on. The confinement cannot be
/// lifted. Call this function after the shared memory is mapped and before another thread is started.
/// Files in the folders `readable` may be read; no file may be created, changed or executed.
///
/// Folders that do not exist are left out: nothing could be read there anyway.
#[must_use]
pub fn worker(readable: &[&Path]) -> Confined {
    confine(readable, &[])
}

/// As [`worker`], for a process that creates, changes and reads files in the folder `writable` only.
#[must_use]
pub fn recorder(writable: &Path) -> Confined {
    confine(&[], &[writable])
}

fn confine(readable: &[&Path], writable: &[&Path]) -> Confined {
    #[cfg(target_os = "linux")]
    {
        Confined {
            files: files::restrict(readable, writable),
            calls: calls::restrict(),
        }
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = (readable, writable);
        let missing = || Err("it exists only on Linux".into());
        Confined {
            files: missing(),
            calls: missing(),
        }
    }
}

#[cfg(target_os = "linux")]
mod files {
    use std::path::Path;

    use landlock::{
        ABI, Access, AccessFs, AccessNet, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetError,
        RulesetStatus, Scope, path_beneath_rules,
    };

    /// The newest landlock ABI that is used; it covers files, devices, TCP, abstract sockets and
    /// signals. An older kernel enforces the part that it knows. A newer ABI may also restrict `connect`
    /// on UNIX sockets, which a worker needs; with such an ABI, the folders of the sockets must be
    /// allowed.
    const KNOWN: ABI = ABI::V6;

    pub fn restrict(readable: &[&Path], writable: &[&Path]) -> Result<(), String> {
        match enforce(readable, writable) {
            Ok(RulesetStatus::NotEnforced) => Err("the kernel does not support it".into()),
            Ok(_) => Ok(()),
            Err(why) => Err(why.to_string()),
        }
    }

    fn enforce(readable: &[&Path], writable: &[&Path]) -> Result<RulesetStatus, RulesetError> {
        let reading = AccessFs::ReadFile | AccessFs::ReadDir;
        let writing = reading | AccessFs::WriteFile | AccessFs::MakeReg | AccessFs::Truncate;
        // The process's own folder: the fault "out of memory" reads there how much memory is mapped.
        let folders = readable.iter().copied().chain([Path::new("/proc/self")]);
        let status = Ruleset::default()
            .handle_access(AccessFs::from_all(KNOWN))?
            .handle_access(AccessNet::from_all(KNOWN))?
            .scope(Scope::from_all(KNOWN))?
            .create()?
            .add_rules(path_beneath_rules(folders, reading))?
            .add_rules(path_beneath_rules(writable, writing))?
            .restrict_self()?;
        Ok(status.ruleset)
    }
}

#[cfg(target_os = "linux")]
mod calls {
    use seccompiler::{BpfProgram, Error, TargetArch, apply_filter, sock_filter};

    /// System calls that no worker needs, whatever their arguments.
    const REFUSED: &[libc::c_long] = &[
        // Replacing this program by another one.
        libc::SYS_execve,
        libc::SYS_execveat,
        // Memory and descriptors of other processes.
        libc::SYS_ptrace,
        libc::SYS_process_vm_readv,
        libc::SYS_process_vm_writev,
        libc::SYS_process_madvise,
        libc::SYS_pidfd_getfd,
        libc::SYS_kcmp,
        libc::SYS_perf_event_open,
        libc::SYS_userfaultfd,
        // Interfaces through which the kernel makes calls for the process, past this filter.
        libc::SYS_io_uring_setup,
        libc::SYS_io_uring_enter,
        libc::SYS_io_uring_register,
        libc::SYS_bpf,
        // File operations that landlock does not restrict: owner, mode, times, attributes, handles.
        libc::SYS_fchmod,
        libc::SYS_fchmodat,
        SYS_FCHMODAT2,
        libc::SYS_fchown,
        libc::SYS_fchownat,
        libc::SYS_utimensat,
        libc::SYS_setxattr,
        libc::SYS_lsetxattr,
        libc::SYS_fsetxattr,
        SYS_SETXATTRAT,
        libc::SYS_removexattr,
        libc::SYS_lremovexattr,
        libc::SYS_fremovexattr,
        SYS_REMOVEXATTRAT,
        libc::SYS_name_to_handle_at,
        libc::SYS_open_by_handle_at,
        // Mounts, roots and namespaces.
        libc::SYS_mount,
        libc::SYS_umount2,
        libc::SYS_mount_setattr,
        libc::SYS_move_mount,
        libc::SYS_open_tree,
        libc::SYS_fsopen,
        libc::SYS_fsconfig,
        libc::SYS_fsmount,
        libc::SYS_fspick,
        libc::SYS_pivot_root,
        libc::SYS_chroot,
        libc::SYS_unshare,
        libc::SYS_setns,
        // Keys.
        libc::SYS_add_key,
        libc::SYS_request_key,
        libc::SYS_keyctl,
        // The kernel and the machine.
        libc::SYS_init_module,
        libc::SYS_finit_module,
        libc::SYS_delete_module,
        libc::SYS_kexec_load,
        libc::SYS_kexec_file_load,
        libc::SYS_reboot,
        libc::SYS_syslog,
        libc::SYS_acct,
        libc::SYS_quotactl,
        libc::SYS_swapon,
        libc::SYS_swapoff,
        libc::SYS_settimeofday,
        libc::SYS_clock_settime,
        libc::SYS_clock_adjtime,
        libc::SYS_adjtimex,
        libc::SYS_sethostname,
        libc::SYS_setdomainname,
    ];

    /// Numbers that are the same on all architectures and that the `libc` crate does not list yet.
    const SYS_FCHMODAT2: libc::c_long = 452;
    const SYS_SETXATTRAT: libc::c_long = 463;
    const SYS_REMOVEXATTRAT: libc::c_long = 466;

    /// Older forms of the same calls, and calls that exist only on x86-64.
    #[cfg(target_arch = "x86_64")]
    const REFUSED_HERE: &[libc::c_long] = &[
        libc::SYS_chmod,
        libc::SYS_chown,
        libc::SYS_lchown,
        libc::SYS_utime,
        libc::SYS_utimes,
        libc::SYS_futimesat,
        libc::SYS_iopl,
        libc::SYS_ioperm,
        libc::SYS_modify_ldt,
    ];
    #[cfg(not(target_arch = "x86_64"))]
    const REFUSED_HERE: &[libc::c_long] = &[];

    /// Call numbers from here on belong to the x32 interface of x86-64. No other architecture has as
    /// many numbers.
    const X32: u32 = 0x4000_0000;

    pub fn restrict() -> Result<(), String> {
        install().map_err(|e| e.to_string())
    }

    fn install() -> Result<(), Error> {
        let machine: TargetArch = std::env::consts::ARCH.try_into()?;
        apply_filter(&program(match machine {
            TargetArch::x86_64 => 0xc000_003e,
            TargetArch::aarch64 => 0xc000_00b7,
            TargetArch::riscv64 => 0xc000_00f3,
        }))
    }

    /// The filter program: one comparison for each refused call. At installation, the kernel runs the
    /// program once for every system call that it knows, so each start pays for the program's length.
    /// The program that `seccompiler` generates for the same list is five times as long, and kills a
    /// process that makes a call through the interface of another architecture.
    fn program(machine: u32) -> BpfProgram {
        // Offsets of the call number, the architecture and the first argument in `struct seccomp_data`.
        const NUMBER: u32 = 0;
        const MACHINE: u32 = 4;
        const FAMILY: u32 = 16;
        let instruction = |code: u32, jt, jf, k| sock_filter {
            code: code as u16,
            jt,
            jf,
            k,
        };
        let load = |k| instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, k);
        let answer = |k| instruction(libc::BPF_RET | libc::BPF_K, 0, 0, k);
        let compare = |how, k, jt, jf| instruction(libc::BPF_JMP | libc::BPF_K | how, jt, jf, k);
        let refused: Vec<_> = REFUSED.iter().chain(REFUSED_HERE).collect();
        // From the nth comparison to the last instruction: over the remaining comparisons and four more
        // instructions.
        let count = refused.len();
        let onward = |nth: usize| u8::try_from(count - nth + 4).expect("fewer calls than 250");
        let mut program = vec![
            load(MACHINE),
            compare(libc::BPF_JEQ, machine, 1, 0),
            answer(libc::SECCOMP_RET_ERRNO | libc::EPERM as u32),
            load(NUMBER),
            compare(libc::BPF_JGE, X32, onward(0) + 1, 0),
            // `socket` is allowed for the family UNIX only: through it a worker reaches its supervisor.
            compare(libc::BPF_JEQ, libc::SYS_socket as u32, onward(0) - 3, 0),
        ];
        for (nth, call) in (1..).zip(refused) {
            program.push(compare(libc::BPF_JEQ, *call as u32, onward(nth), 0));
        }
        program.extend([
            answer(libc::SECCOMP_RET_ALLOW),
            load(FAMILY),
            compare(libc::BPF_JEQ, libc::AF_UNIX as u32, 0, 1),
            answer(libc::SECCOMP_RET_ALLOW),
            answer(libc::SECCOMP_RET_ERRNO | libc::EPERM as u32),
        ]);
        program
    }
}
