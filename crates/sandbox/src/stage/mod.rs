//! The confinement layers, one a file; `launch.rs` alone says in which order they come. A stage either makes its layer
//! hold, or writes down why not, or stops the launch; it never claims what it did not do.

pub(crate) mod capabilities;
pub(crate) mod cgroup;
pub(crate) mod cgroup_namespace;
pub(crate) mod divert;
pub(crate) mod fresh_proc;
pub(crate) mod ipc_namespace;
pub(crate) mod landlock;
pub(crate) mod mount_namespace;
pub(crate) mod net_namespace;
pub(crate) mod no_new_privileges;
pub(crate) mod pid_namespace;
pub(crate) mod resource_limits;
pub(crate) mod seccomp;
pub(crate) mod separate_uid;
pub(crate) mod user_namespace;
pub(crate) mod uts_namespace;
