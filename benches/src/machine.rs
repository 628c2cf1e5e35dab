//! Where the comparison ran, and how much memory a process took.

use std::path::Path;

use serde::Serialize;

/// The machine.
#[derive(Debug, Clone, Serialize)]
pub struct Machine {
    /// The model of the processor.
    pub processor: String,
    /// How many threads it runs at once.
    pub cores: usize,
    /// Its memory in MiB.
    pub memory_mib: u64,
    /// The kernel.
    pub kernel: String,
    /// The file system of the folder that was measured in.
    pub file_system: String,
    /// The compiler.
    pub rustc: String,
    /// The load over the last minute, when the comparison began.
    pub load: String,
}

impl Machine {
    /// This machine, with the file system of a folder.
    #[must_use]
    pub fn this(folder: &Path) -> Machine {
        Machine {
            processor: field("/proc/cpuinfo", "model name").unwrap_or_else(|| "unknown".into()),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            memory_mib: kib("/proc/meminfo", "MemTotal") / 1024,
            kernel: std::fs::read_to_string("/proc/sys/kernel/osrelease")
                .unwrap_or_default()
                .trim()
                .to_string(),
            file_system: file_system(folder),
            rustc: output_of("rustc", "--version"),
            load: std::fs::read_to_string("/proc/loadavg")
                .ok()
                .and_then(|text| text.split_whitespace().next().map(str::to_string))
                .unwrap_or_default(),
        }
    }
}

/// The most memory this process has had resident so far, in bytes.
#[must_use]
pub fn peak_memory() -> u64 {
    kib("/proc/self/status", "VmHWM") * 1024
}

/// The memory that this process has resident, in bytes.
#[must_use]
pub fn resident_memory() -> u64 {
    kib("/proc/self/status", "VmRSS") * 1024
}

fn kib(path: &str, name: &str) -> u64 {
    field(path, name).and_then(|value| value.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

fn field(path: &str, name: &str) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?;
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim().to_string())
}

/// The kind of the mount that holds a folder: the one with the longest path to it.
fn file_system(folder: &Path) -> String {
    let folder = folder.canonicalize().unwrap_or_else(|_| folder.to_path_buf());
    let mounts = std::fs::read_to_string("/proc/mounts").unwrap_or_default();
    let fields = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    fields
        .filter(|fields| fields.len() > 2 && folder.starts_with(fields[1]))
        .max_by_key(|fields| fields[1].len())
        .map_or_else(|| "unknown".into(), |fields| fields[2].to_string())
}

fn output_of(program: &str, argument: &str) -> String {
    std::process::Command::new(program).arg(argument).output().map_or_else(
        |_| "unknown".into(),
        |out| String::from_utf8_lossy(&out.stdout).trim().to_string(),
    )
}
