//! Worker processes are killed (SIGKILL) at random moments and started again, round after round.
//!
//! Each process keeps a log of its own: a line before a batch is worked on, one after it was
//! acknowledged. At the end every acknowledged batch is stored, once and for the worker that did
//! it; every position is counted once; what was worked on twice was in flight when its worker was
//! killed; and no lease was held for longer than its time (promises 2, 3, 4, 7 and 11).
//!
//! Hundreds of kills: `KILLS=300 cargo test --release --test killed -- --ignored`.

#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "these are tests")]

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use fastrand::Rng;
use milepost::{Batch, Error, JobId, NewJob, NewWorker, Scope, Sharing, Store};

const ORDER: &str = "MILEPOST_TEST_ORDER";
const LEASE: Duration = Duration::from_millis(250);
const JOBS: u64 = 8;
/// How long anything may take that depends on a lease expiring, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(240);

fn sharing(mode: &str) -> Sharing {
    match mode {
        "exclusive" => Sharing::Exclusive,
        "single" => Sharing::SingleWriter,
        "multi" => Sharing::MultiWriter,
        _ => panic!("{mode}"),
    }
}

/// Opens the store, waiting for one who was just killed to be gone.
fn open(path: &Path, mode: &str) -> Store {
    let since = Instant::now();
    loop {
        match Store::builder(path).sharing(sharing(mode)).history_limit(1_000_000).open() {
            Ok(store) => return store,
            Err(Error::Locked { .. }) if since.elapsed() < PATIENCE => std::thread::yield_now(),
            Err(error) => panic!("{error}"),
        }
    }
}

/// What child processes run. By itself it checks that one which nobody kills does all there is.
#[test]
fn a_process_works_until_nothing_is_left() {
    match std::env::var(ORDER) {
        Ok(order) => work(&order),
        Err(_) => Fleet::new("exclusive", 1, 300, 1).check(300, "a process that nobody kills"),
    }
}

/// What a child does.
fn work(order: &str) {
    let [path, mode, name] = order.split('|').collect::<Vec<_>>()[..] else { panic!("{order}") };
    let store = open(Path::new(path), mode);
    let mut log = log_of(Path::new(path), name);
    let worker = store.register_worker(NewWorker::new(name).kind("process")).unwrap();
    loop {
        let request = worker.request(LEASE).resume();
        let Some(mut lease) = request.wait().unwrap().leased() else { return };
        while let Some(range) = lease.next_batch(7).map(|batch| batch.range()) {
            writeln!(log, "begin {} {} {}", lease.job(), range.start, range.end).unwrap();
            let batch = Batch::new(range.clone(), Duration::from_micros(50));
            match lease.checkpoint(batch) {
                Ok(_) => {
                    writeln!(log, "ack {} {} {}", lease.job(), range.start, range.end).unwrap()
                }
                // On a busy machine a process may sleep for longer than its lease.
                Err(Error::LeaseLost { .. }) => break,
                Err(error) => panic!("{error}"),
            }
        }
    }
}

fn log_of(path: &Path, name: &str) -> File {
    let path = path.with_extension(format!("{name}.log"));
    OpenOptions::new().append(true).create(true).open(path).unwrap()
}

fn start(path: &Path, mode: &str, name: &str) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_process_works_until_nothing_is_left", "--test-threads=1", "--quiet"])
        .env(ORDER, format!("{}|{mode}|{name}", path.display()))
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

/// A line of a log: whether it is an acknowledgement, the job and the positions.
type Line = (bool, u64, Range<u64>);

fn read_log(path: &Path, name: &str) -> Vec<Line> {
    let text =
        std::fs::read_to_string(path.with_extension(format!("{name}.log"))).unwrap_or_default();
    text.lines()
        .filter_map(|line| {
            let words: Vec<&str> = line.split(' ').collect();
            // The last line may have been cut by a kill.
            let [kind, job, start, end] = words[..] else { return None };
            Some((kind == "ack", job.parse().ok()?, start.parse().ok()?..end.parse().ok()?))
        })
        .collect()
}

struct Fleet {
    path: PathBuf,
    mode: &'static str,
    names: Vec<String>,
    children: Vec<Child>,
    kills: u64,
    rng: Rng,
    _folder: tempfile::TempDir,
}

impl Fleet {
    fn new(mode: &'static str, processes: usize, positions: u64, seed: u64) -> Fleet {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("scan.milepost");
        let store = open(&path, mode);
        let range = |n| n * positions..(n + 1) * positions;
        store.create_jobs((0..JOBS).map(|n| NewJob::new("keys", range(n)))).unwrap();
        store.close().unwrap();
        let names: Vec<String> = (0..processes).map(|n| format!("pc-{n}")).collect();
        let children = names.iter().map(|name| start(&path, mode, name)).collect();
        // Shown where the test fails.
        println!("{mode}, {processes} processes: seed {seed}");
        let rng = Rng::with_seed(seed);
        Fleet { path, mode, names, children, kills: 0, rng, _folder: folder }
    }

    /// Kills one of the processes after a moment, and starts it again; false once one has gone home.
    fn kill_one(&mut self) -> bool {
        std::thread::sleep(Duration::from_micros(self.rng.u64(..60_000)));
        let which = self.rng.usize(..self.children.len());
        if self.children[which].try_wait().unwrap().is_some() {
            return false;
        }
        self.children[which].kill().unwrap();
        self.children[which].wait().unwrap();
        self.kills += 1;
        self.children[which] = start(&self.path, self.mode, &self.names[which]);
        true
    }

    /// Waits until all have gone home, then compares what is stored with the logs.
    fn check(mut self, positions: u64, what: &str) {
        let since = Instant::now();
        for child in &mut self.children {
            while child.try_wait().unwrap().is_none() {
                assert!(since.elapsed() < PATIENCE, "{what}: a lease is stuck, or a process hangs");
                std::thread::sleep(Duration::from_millis(2));
            }
            assert!(child.wait().unwrap().success(), "{what}: a process failed");
        }
        let store = open(&self.path, self.mode);
        let view = store.snapshot().unwrap();
        view.verify().unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(view.job_counts().completed, JOBS, "{what}");
        let all = u128::from(JOBS * positions);
        assert_eq!(view.lifetime(Scope::Fleet).unwrap().totals.items, all, "{what}");

        // Every position is stored once, in one batch of one worker.
        let mut stored: HashMap<(u64, u64), (u64, String)> = HashMap::new();
        let workers: HashMap<_, _> = view
            .workers(None, usize::MAX)
            .unwrap()
            .into_iter()
            .map(|worker| (worker.id, worker.name))
            .collect();
        let mut sum = 0;
        for record in view.newest_history(None, usize::MAX).unwrap() {
            let batch = record.batch;
            let key = (batch.job.map_or(0, JobId::get), batch.start);
            sum += batch.end - batch.start;
            let value = (batch.end, workers[&batch.worker].clone());
            assert!(stored.insert(key, value).is_none(), "{what}: {key:?} is stored twice");
        }
        assert_eq!(u128::from(sum), all, "{what}");

        // What was acknowledged is stored as it was, and little more than that.
        let (mut acknowledged, mut begun) = (0, 0);
        for name in &self.names {
            for (is_ack, job, range) in read_log(&self.path, name) {
                begun += u64::from(!is_ack);
                if is_ack {
                    acknowledged += 1;
                    let found = stored.get(&(job, range.start));
                    assert_eq!(found, Some(&(range.end, name.clone())), "{what}: job {job}");
                }
            }
        }
        let batches = stored.len() as u64;
        assert!(batches - acknowledged <= self.kills, "{what}: {batches}, {acknowledged} known");
        assert!(begun >= batches, "{what}: {batches} are stored, {begun} were begun");
        let repeated = begun - batches;
        // In flight when a worker was killed, or was too slow for its lease.
        assert!(repeated <= 2 * self.kills + 5, "{what}: {repeated} batches were done twice");
    }
}

fn rounds(mode: &'static str, processes: usize, kills: u64, seed: u64) -> u64 {
    let positions = 40 * kills + 400;
    let mut fleet = Fleet::new(mode, processes, positions, seed);
    while fleet.kills < kills && fleet.kill_one() {}
    let made = fleet.kills;
    fleet.check(positions, &format!("{mode}, {processes} processes, seed {seed}"));
    made
}

#[test]
fn a_process_that_has_the_file_for_itself_is_killed_again_and_again() {
    assert!(rounds("exclusive", 1, 25, 3) >= 10);
}

#[test]
fn processes_that_share_a_file_are_killed_again_and_again() {
    assert!(rounds("multi", 3, 15, 5) >= 5);
    assert!(rounds("multi", 2, 10, 7) >= 4);
}

#[test]
fn beside_a_writer_that_is_killed_again_and_again_readers_see_a_store_in_order() {
    let positions = 1_500;
    let mut fleet = Fleet::new("single", 1, positions, 11);
    let (mut seen, mut refused) = (0, 0);
    while fleet.kills < 15 && fleet.kill_one() {
        let since = Instant::now();
        // Until the next writer has opened it, and made a few commits beside the readers.
        let until = seen + 3;
        while seen < until {
            assert!(since.elapsed() < PATIENCE, "after {} kills nobody can read", fleet.kills);
            let reader =
                Store::builder(&fleet.path).sharing(Sharing::SingleWriter).open_read_only();
            match reader.and_then(|reader| reader.snapshot()?.verify()) {
                Ok(_) => seen += 1,
                Err(Error::NeedsRecovery { .. } | Error::Locked { .. }) => refused += 1,
                Err(error) => panic!("{error}"),
            }
        }
    }
    println!("{} kills, {seen} seen, {refused} refused", fleet.kills);
    assert!(fleet.kills >= 5 && refused > 0, "{} kills, {refused} refused", fleet.kills);
    fleet.check(positions, "single");
}

#[test]
#[ignore = "takes minutes: for long runs by hand"]
fn processes_are_killed_hundreds_of_times() {
    let kills: u64 = std::env::var("KILLS").map_or(300, |kills| kills.parse().unwrap());
    let mut made = 0;
    for seed in 20.. {
        for (mode, processes) in [
            ("exclusive", 1),
            ("single", 1),
            ("multi", 1),
            ("multi", 2),
            ("multi", 3),
            ("multi", 4),
        ] {
            made += rounds(mode, processes, 30, seed);
        }
        println!("{made} kills");
        if made >= kills {
            return;
        }
    }
}
