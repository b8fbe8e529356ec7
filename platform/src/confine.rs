//! What a worker may still do once it plays: read its log, talk to its supervisor, render.
//!
//! Two nets, both of the kernel's: landlock for files, TCP and signals to strangers; seccomp for
//! system calls. Whatever is refused fails with an error number and never with a kill: both
//! replicas do the same work, and what kills one would kill the other. So nothing that a worker
//! needs may depend on a refused call. Not a sandbox for hostile code: shared memory stays writable.

use std::path::Path;

/// What holds since [`worker`] was called; a net that the kernel does not have says why.
#[derive(Debug)]
pub struct Confined {
    /// Files, TCP and signals: landlock.
    pub files: Result<(), String>,
    /// System calls: seccomp.
    pub calls: Result<(), String>,
}

impl Confined {
    /// A line for each net that is missing; none when both hold.
    pub fn skipped(&self) -> impl Iterator<Item = String> {
        let nets = [("landlock", &self.files), ("seccomp", &self.calls)];
        nets.into_iter().filter_map(|(net, held)| {
            let why = held.as_ref().err()?;
            Some(format!("{net} is skipped: {why}; the worker goes on"))
        })
    }
}

/// Confines the calling thread and every thread that it starts from now on, for ever: call it once
/// the shared memory is mapped and before another thread is started. `readable` are the folders
/// whose files may be read; no file may be made, changed or run.
///
/// A path that is missing is left out: it cannot be read either way.
#[must_use]
pub fn worker(readable: &[&Path]) -> Confined {
    #[cfg(target_os = "linux")]
    {
        Confined {
            files: files::restrict(readable),
            calls: calls::restrict(),
        }
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = readable;
        let missing = || Err("only Linux has it".into());
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

    /// The newest kernel interface that is made use of: files, devices, TCP, abstract sockets and
    /// signals. An older kernel enforces what it knows. A later interface may also govern the
    /// connecting to sockets, which a worker needs: name the sockets' folders then.
    const KNOWN: ABI = ABI::V6;

    pub fn restrict(readable: &[&Path]) -> Result<(), String> {
        match enforce(readable) {
            Ok(RulesetStatus::NotEnforced) => Err("this kernel does not have it".into()),
            Ok(_) => Ok(()),
            Err(why) => Err(why.to_string()),
        }
    }

    fn enforce(readable: &[&Path]) -> Result<RulesetStatus, RulesetError> {
        let reading = AccessFs::ReadFile | AccessFs::ReadDir;
        // The own process's folder: the fault "out of memory" asks there how much is mapped.
        let folders = readable.iter().copied().chain([Path::new("/proc/self")]);
        let status = Ruleset::default()
            .handle_access(AccessFs::from_all(KNOWN))?
            .handle_access(AccessNet::from_all(KNOWN))?
            .scope(Scope::from_all(KNOWN))?
            .create()?
            .add_rules(path_beneath_rules(folders, reading))?
            .restrict_self()?;
        Ok(status.ruleset)
    }
}

#[cfg(target_os = "linux")]
mod calls {
    use std::collections::BTreeMap;

    use seccompiler::{
        BpfProgram, Error, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition,
        SeccompFilter, SeccompRule, TargetArch, apply_filter,
    };

    /// Calls that no worker has a use for, whatever their arguments.
    const REFUSED: &[libc::c_long] = &[
        // Another program in this one's place.
        libc::SYS_execve,
        libc::SYS_execveat,
        // Other processes' memory and descriptors.
        libc::SYS_ptrace,
        libc::SYS_process_vm_readv,
        libc::SYS_process_vm_writev,
        libc::SYS_process_madvise,
        libc::SYS_pidfd_getfd,
        libc::SYS_kcmp,
        libc::SYS_perf_event_open,
        libc::SYS_userfaultfd,
        // Calls made by the kernel in one's name, past this filter.
        libc::SYS_io_uring_setup,
        libc::SYS_io_uring_enter,
        libc::SYS_io_uring_register,
        libc::SYS_bpf,
        // What landlock does not govern of files: owner, mode, times, attributes, handles.
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

    /// Numbers that are the same on all machines and newer than the `libc` crate's lists.
    const SYS_FCHMODAT2: libc::c_long = 452;
    const SYS_SETXATTRAT: libc::c_long = 463;
    const SYS_REMOVEXATTRAT: libc::c_long = 466;

    /// Older forms of the same calls, and what only this processor has.
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
        // The x32 forms of execve, ptrace, kexec_load, process_vm_* and execveat have numbers of
        // their own.
        X32 | 520,
        X32 | 521,
        X32 | 528,
        X32 | 539,
        X32 | 540,
        X32 | 545,
    ];
    #[cfg(not(target_arch = "x86_64"))]
    const REFUSED_HERE: &[libc::c_long] = &[];

    /// The bit that marks a call of the x32 interface, which passes for one of x86-64.
    #[cfg(target_arch = "x86_64")]
    const X32: libc::c_long = 0x4000_0000;

    pub fn restrict() -> Result<(), String> {
        install().map_err(|e| e.to_string())
    }

    fn install() -> Result<(), Error> {
        let program: BpfProgram = filter()?.try_into()?;
        apply_filter(&program)
    }

    fn filter() -> Result<SeccompFilter, Error> {
        // Sockets of any family but UNIX: that is how its supervisor is reached, and nobody else.
        let network = SeccompRule::new(vec![SeccompCondition::new(
            0,
            SeccompCmpArgLen::Dword,
            SeccompCmpOp::Ne,
            libc::AF_UNIX as u64,
        )?])?;
        let refused = REFUSED.iter().chain(REFUSED_HERE);
        let mut rules: BTreeMap<i64, Vec<SeccompRule>> =
            refused.map(|call| (*call, Vec::new())).collect();
        rules.insert(libc::SYS_socket, vec![network]);
        #[cfg(target_arch = "x86_64")]
        for (call, conditions) in rules.clone() {
            rules.insert(call | X32, conditions);
        }
        let target: TargetArch = std::env::consts::ARCH.try_into()?;
        let (allow, refuse) = (
            SeccompAction::Allow,
            SeccompAction::Errno(libc::EPERM as u32),
        );
        Ok(SeccompFilter::new(rules, allow, refuse, target)?)
    }
}
