//! Runs closures in forked children.
//!
//! A child has only the thread that forked. It must not return into the test harness, whose other
//! threads it lacks, so it reports through a pipe and ends by `_exit`.
#![cfg(unix)]

mod ask;

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::FromRawFd;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::{Duration, Instant};

pub use ask::{ask_lease, ask_snapshot, ask_store, ask_worker, assert_forked, assert_locked};

/// How long a child may take before it counts as deadlocked.
const PATIENCE: Duration = Duration::from_secs(60);

/// A forked child.
pub struct Child {
    pid: libc::pid_t,
    from_child: File,
    to_child: File,
}

/// The side of a child.
pub struct Parent {
    from_parent: File,
    to_parent: File,
}

fn pipe() -> (File, File) {
    let mut ends = [0; 2];
    // SAFETY: there is room for two descriptors.
    assert_eq!(unsafe { libc::pipe(ends.as_mut_ptr()) }, 0, "a pipe can be made");
    // SAFETY: they are new, and nobody else owns them.
    unsafe { (File::from_raw_fd(ends[0]), File::from_raw_fd(ends[1])) }
}

/// What `fork` returns on each side.
enum Side {
    Parent(Child),
    Child(Parent),
}

fn split() -> Side {
    let (from_child, to_parent) = pipe();
    let (from_parent, to_child) = pipe();
    // SAFETY: the callers see to it that the child ends without returning into anything that needs
    // the threads it lacks.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0, "a process can be forked");
    if pid > 0 {
        drop((from_parent, to_parent));
        Side::Parent(Child { pid, from_child, to_child })
    } else {
        drop((from_child, to_child));
        Side::Child(Parent { from_parent, to_parent })
    }
}

fn end(failed: bool) -> ! {
    // SAFETY: this only ends the process.
    unsafe { libc::_exit(i32::from(failed)) }
}

/// Runs a closure in a forked child, which ends with it. The two can send each other bytes.
pub fn fork(run: impl FnOnce(&mut Parent)) -> Child {
    match split() {
        Side::Parent(child) => child,
        Side::Child(mut parent) => {
            end(catch_unwind(AssertUnwindSafe(|| run(&mut parent))).is_err())
        }
    }
}

/// Runs a closure and has the process forked within, by the function that the closure is given and
/// calls once. It returns true in the child, which returns or unwinds through the closure as the
/// parent does, and ends with it. Waits until the child has ended well.
#[track_caller]
pub fn fork_within(run: impl FnOnce(&mut dyn FnMut() -> bool)) {
    let mut side = None;
    let ran = catch_unwind(AssertUnwindSafe(|| {
        run(&mut || matches!(side.insert(split()), Side::Child(_)));
    }));
    match side {
        Some(Side::Child(_)) => end(ran.is_err()),
        Some(Side::Parent(child)) => child.join(),
        None => assert!(ran.is_err(), "the closure forks"),
    }
    if let Err(panic) = ran {
        resume_unwind(panic);
    }
}

/// Runs a closure in a forked child, and waits until it has ended well.
#[track_caller]
pub fn in_child(run: impl FnOnce()) {
    fork(|_| run()).join();
}

/// Gives a value to a closure in a forked child, and waits until it has ended well. The parent keeps
/// the value: the child has a copy.
#[track_caller]
pub fn give_to_child<T>(value: T, run: impl FnOnce(T)) -> T {
    let mut value = Some(value);
    in_child(|| run(value.take().expect("it is there")));
    value.expect("only the child took its copy")
}

impl Child {
    /// Waits for a byte of the child.
    #[track_caller]
    pub fn expect(&mut self, byte: u8) {
        let mut found = [0];
        self.from_child.read_exact(&mut found).expect("the child goes on");
        assert_eq!(found[0], byte);
    }

    /// Sends the child a byte.
    pub fn tell(&mut self, byte: u8) {
        self.to_child.write_all(&[byte]).expect("the child listens");
    }

    /// Kills the child. Its own children can still be heard.
    pub fn kill(&mut self) {
        // SAFETY: it is a child of this process that nobody has waited for, so the id is its own.
        unsafe { libc::kill(self.pid, libc::SIGKILL) };
        self.wait();
    }

    /// Waits until the child has ended, and fails unless it ended well.
    #[track_caller]
    pub fn join(mut self) {
        let pid = self.pid;
        match self.wait() {
            Some(0) => {}
            Some(status) => panic!("child {pid} failed with status {status}"),
            None => panic!("child {pid} did not end, and was killed"),
        }
    }

    /// The status with which the child ended; `None` if it had to be killed.
    fn wait(&mut self) -> Option<i32> {
        let until = Instant::now() + PATIENCE;
        let mut status = 0;
        // SAFETY: in both calls, it is a child of this process that nobody has waited for.
        while unsafe { libc::waitpid(self.pid, &mut status, libc::WNOHANG) } == 0 {
            if Instant::now() > until {
                unsafe {
                    libc::kill(self.pid, libc::SIGKILL);
                    libc::waitpid(self.pid, &mut status, 0);
                }
                return None;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Some(status)
    }
}

impl Parent {
    /// Waits for a byte of the parent. Ends the process if the parent has ended.
    pub fn expect(&mut self, byte: u8) {
        let mut found = [0];
        self.from_parent.read_exact(&mut found).expect("the parent goes on");
        assert_eq!(found[0], byte);
    }

    /// Sends the parent a byte.
    pub fn tell(&mut self, byte: u8) {
        self.to_parent.write_all(&[byte]).expect("the parent listens");
    }
}
