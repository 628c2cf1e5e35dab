//! What it costs to keep 20,000 leases alive on a slow disk. Run by hand, since it takes a minute:
//!
//! ```text
//! cargo test --release --test many_leases -- --ignored --nocapture
//! ```

#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "these are tests")]

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use milepost::testing::Device;
use milepost::{Builder, Lease, NewJob, NewWorker, Store};
use parking_lot::Mutex;

const MINUTE: Duration = Duration::from_secs(60);
const LEASES: u64 = 20_000;
const SYNC: Duration = Duration::from_millis(5);

/// A disk in memory whose syncs take time, once that is asked for.
#[derive(Debug, Default)]
struct SlowDisk {
    bytes: Mutex<Vec<u8>>,
    sync_ms: AtomicU64,
    syncs: AtomicU64,
}

impl Device for SlowDisk {
    fn length(&self) -> io::Result<u64> {
        Ok(self.bytes.lock().len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let bytes = self.bytes.lock();
        let found = bytes.get(offset as usize..offset as usize + out.len());
        out.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_length(&self, length: u64) -> io::Result<()> {
        self.bytes.lock().resize(length as usize, 0);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        self.syncs.fetch_add(1, Ordering::SeqCst);
        thread::sleep(Duration::from_millis(self.sync_ms.load(Ordering::SeqCst)));
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let from = offset as usize;
        self.bytes.lock()[from..from + data.len()].copy_from_slice(data);
        Ok(())
    }
}

/// Takes all leases, from many threads so that they share commits.
fn take_all(store: &Store) -> Vec<Lease> {
    let worker = store.register_worker(NewWorker::new("w").kind("pc")).unwrap();
    let request = worker.request(MINUTE).of_prefix("kept").keep_alive();
    let take = || {
        let leases = (0..LEASES / 50).map(|_| request.clone().send().unwrap().leased().unwrap());
        leases.collect::<Vec<_>>()
    };
    thread::scope(|threads| {
        let taking: Vec<_> = (0..50).map(|_| threads.spawn(take)).collect();
        taking.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    })
}

/// How long the thread that keeps leases alive has run on a core.
fn keeper_time() -> Duration {
    for task in std::fs::read_dir("/proc/self/task").unwrap() {
        let task = task.unwrap().path();
        if std::fs::read_to_string(task.join("comm")).unwrap().trim() == "milepost-keeper" {
            let stat = std::fs::read_to_string(task.join("schedstat")).unwrap();
            return Duration::from_nanos(stat.split_whitespace().next().unwrap().parse().unwrap());
        }
    }
    panic!("no thread keeps leases alive");
}

/// Promises 13 and 14.
#[test]
#[ignore = "takes more than a minute, and measures time: see above"]
fn twenty_thousand_leases_are_kept_alive_on_a_disk_of_five_milliseconds_a_sync() {
    let disk = Arc::new(SlowDisk::default());
    let store = Builder::on_device(disk.clone()).open().unwrap();
    store.create_jobs((0..LEASES).map(|n| NewJob::new("kept", n..n + 1))).unwrap();
    store.create_job(NewJob::new("busy", 0..u64::MAX)).unwrap();
    let kept = take_all(&store);
    let request = store
        .register_worker(NewWorker::new("busy").kind("pc"))
        .unwrap()
        .request(MINUTE)
        .of_prefix("busy");
    let mut busy = request.send().unwrap().leased().unwrap();

    disk.sync_ms.store(SYNC.as_millis() as u64, Ordering::SeqCst);
    let (syncs, ran, began) = (disk.syncs.load(Ordering::SeqCst), keeper_time(), Instant::now());
    let (mut late, mut least, mut checkpoints) = (0, MINUTE, Vec::new());
    while began.elapsed() < MINUTE + MINUTE / 4 {
        let started = Instant::now();
        busy.checkpoint(busy.next_batch(1).unwrap()).unwrap();
        checkpoints.push(started.elapsed());
        // So seldom that the thread makes its commits itself.
        thread::sleep(10 * SYNC);
        if checkpoints.len() % 10 == 0 {
            let now = store.now();
            let left = kept.iter().map(|lease| lease.deadline().saturating_duration_since(now));
            least = left.clone().min().unwrap().min(least);
            late += left.filter(Duration::is_zero).count();
        }
    }
    let share = (keeper_time() - ran).as_secs_f64() / began.elapsed().as_secs_f64();
    let syncs = disk.syncs.load(Ordering::SeqCst) - syncs;
    let closing = Instant::now();
    store.close().unwrap();
    let closing = closing.elapsed();
    checkpoints.sort();

    println!("{LEASES} leases of {MINUTE:?} kept alive for {:?}", began.elapsed());
    println!("the least time left {least:?}, late {late}");
    println!("the thread took {:.2} % of a core; close() {closing:?}", share * 100.0);
    println!(
        "{} checkpoints beside them: p50 {:?}, p99 {:?}, max {:?}; {syncs} syncs in all",
        checkpoints.len(),
        checkpoints[checkpoints.len() / 2],
        checkpoints[checkpoints.len() * 99 / 100],
        checkpoints[checkpoints.len() - 1],
    );
    assert_eq!(late, 0);
    assert!(share < 0.05 && closing < Duration::from_millis(100));
}
