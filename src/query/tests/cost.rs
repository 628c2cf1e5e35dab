//! What questions cost, in rows read.

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::counting::Counting;
use crate::builder::Builder;
use crate::clock::ManualClock;
use crate::query::chunks::{ChunkSums, SIZES};
use crate::query::scene::{MINUTE, at, past};
use crate::query::{Scope, Snapshot};
use crate::storage::Engine;
use crate::store::Store;
use crate::time::Timestamp;
use crate::types::{Batch, Import, JobId, NewJob, WorkerId};

struct Fleet {
    engine: Arc<Counting>,
    store: Store,
    workers: u32,
    records: u64,
}

impl Fleet {
    fn new(history: u32, workers: u32) -> Fleet {
        let engine = Arc::new(Counting::new());
        let store = Builder::on_engine(engine.clone())
            .clock(ManualClock::at(at("2026-02-16T12:00:00Z")))
            .history_limit(history)
            .open()
            .unwrap();
        for n in 0..workers {
            store.register_worker(crate::NewWorker::new(format!("pc-{n}")).kind("pc")).unwrap();
        }
        Fleet { engine, store, workers, records: 0 }
    }

    /// Imports so many batches of all workers in turn, a minute apart.
    fn grow(&mut self, records: u64) {
        for _ in 0..records.div_ceil(5_000) {
            let mut import = Import::new(self.records.to_string(), 1);
            for n in self.records..self.records + records.min(5_000) {
                let worker = WorkerId(1 + (n % u64::from(self.workers)) as u32);
                let finished_at = at("2026-01-01T00:00:00Z").saturating_add(n as u32 * MINUTE);
                import = import.history(past(worker, None, n..n + 1 + n % 7, finished_at));
                self.records += 1;
            }
            self.store.import(import).unwrap();
        }
    }

    /// How many rows a question reads of a new snapshot.
    fn cost<T>(&self, ask: impl FnOnce(&Snapshot) -> crate::Result<T>) -> u64 {
        let view = self.store.snapshot().unwrap();
        self.engine.take();
        ask(&view).unwrap();
        self.engine.take()
    }
}

#[test]
fn a_question_about_one_worker_costs_the_same_however_much_history_is_live() {
    let mut fleet = Fleet::new(50_000, 300);
    for size in [1_000, 10_000, 39_000, 20_000] {
        // The last step also makes the oldest 20,000 leave.
        fleet.grow(size);
        let worker = WorkerId(7);
        fleet.cost(|view| view.worker(worker));
        fleet.grow(3);

        // At the ends up to 15 records each, in between sums that the store keeps.
        assert!(fleet.cost(|view| view.worker(worker)) <= 40);
        assert!(fleet.cost(|view| view.worker_named("pc-6")) <= 40);
        assert!(fleet.cost(|view| view.lifetime(worker)) <= 40);
        assert!(fleet.cost(|view| view.standing(worker)) <= 40);
        let days = fleet.cost(|view| view.daily(worker, at("2026-02-01T00:00:00Z").day()..));
        assert!(days <= 80, "{days} for a fortnight of one worker");
        let newest = fleet.cost(|view| {
            view.find_history(&crate::HistoryFilter::default().worker(worker), None, 1)
        });
        assert!(newest <= 350, "{newest} for the newest batch of one in 300");
    }
}

#[test]
fn a_worker_that_has_been_away_is_found_without_reading_what_others_did_since() {
    let mut fleet = Fleet::new(100_000, 2);
    fleet.grow(10);
    fleet.workers = 1;
    fleet.grow(60_000);
    fleet.cost(|view| view.worker(WorkerId(2)));

    let newest = fleet.cost(|view| {
        view.find_history(&crate::HistoryFilter::default().worker(WorkerId(2)), None, 9)
    });

    assert!(newest < SIZES[0] + 100, "{newest}");
    let view = fleet.store.snapshot().unwrap();
    let ids = |before, limit| -> Vec<u64> {
        let records = view
            .find_history(&crate::HistoryFilter::default().worker(WorkerId(2)), before, limit)
            .unwrap();
        records.iter().map(|record| record.id).collect()
    };
    let all = ids(None, 9);
    assert_eq!(all.len(), 5);
    assert_eq!([ids(None, 2), ids(Some(all[1]), 9)].concat(), all);
    assert!(ids(Some(0), 9).is_empty());
}

#[test]
fn every_batch_of_a_worker_is_found_once_however_old() {
    let mut fleet = Fleet::new(100_000, 3);
    fleet.grow(SIZES[0] + 600);
    let view = fleet.store.snapshot().unwrap();

    let found = (1..=3).map(|n| {
        let records = view
            .find_history(&crate::HistoryFilter::default().worker(WorkerId(n)), None, usize::MAX)
            .unwrap();
        assert!(records.iter().all(|record| record.batch.worker == WorkerId(n)));
        assert!(records.windows(2).all(|pair| pair[0].id > pair[1].id));
        records.len() as u64
    });

    assert_eq!(found.sum::<u64>(), fleet.records);
}

#[test]
fn a_batch_that_finished_at_the_time_asked_for_counts_and_an_earlier_one_does_not() {
    let mut fleet = Fleet::new(100, 1);
    fleet.grow(60);
    let view = fleet.store.snapshot().unwrap();

    for n in 0..60 {
        let since = at("2026-01-01T00:00:00Z").saturating_add(n * MINUTE);

        let finished = view.finished_since(since).unwrap().totals.batches;

        assert_eq!(finished, u64::from(60 - n), "since {since}");
    }
}

#[test]
fn questions_about_the_fleet_use_the_same_sums() {
    let mut fleet = Fleet::new(50_000, 10);
    fleet.grow(45_000);
    let cold = fleet.cost(|view| view.lifetime(WorkerId(1)));
    assert!((45_000..46_000).contains(&cold), "every record is read once: {cold}");

    let warm = fleet.cost(|view| view.lifetime(Scope::Fleet));
    assert!(warm <= 60, "{warm}");
    let since = at("2026-01-16T05:00:30Z");
    let first = fleet.cost(|view| view.finished_since(since));
    let one_chunk_in_detail: u64 = SIZES.iter().sum();
    assert!(first <= one_chunk_in_detail + 60, "{first}");
    let again = fleet.cost(|view| view.finished_since(since));
    assert!(again <= 60, "{again}");
    assert!(fleet.cost(|view| view.leaderboard(3)) <= 90);
}

#[test]
fn a_rate_looks_at_a_few_batches_of_a_holder_that_has_not_moved_yet() {
    let fleet = Fleet::new(1_000, 1);
    let jobs = (0..100u64).map(|n| NewJob::new("p", n * 10..n * 10 + 10));
    fleet.store.create_jobs(jobs).unwrap();
    let worker = fleet.store.register_worker(crate::NewWorker::new("pc-0").kind("pc")).unwrap();
    let take = || worker.request(Duration::from_secs(3_600)).send().unwrap().leased().unwrap();
    for _ in 0..99 {
        let mut lease = take();
        let range = lease.range();
        lease.checkpoint(Batch::new(range, Duration::from_secs(1))).unwrap();
    }
    let held = take();

    let cost = fleet.cost(|view| view.fleet_rate());

    assert!(cost <= 45, "{cost} rows");
    let rate = fleet.store.snapshot().unwrap().fleet_rate().unwrap();
    assert_eq!(rate.per_second(), Some(10.0));
    held.abandon();
}

#[test]
fn a_page_costs_the_page() {
    let fleet = Fleet::new(100, 3_000);
    let jobs =
        (0..3_000u64).map(|n| NewJob::new(format!("prefix {}", n % 100), n * 10..n * 10 + 10));
    let ids = fleet.store.create_jobs(jobs).unwrap();
    let worker = fleet.store.register_worker(crate::NewWorker::new("pc-0").kind("pc")).unwrap();
    for id in &ids[..300] {
        let request = worker.request(Duration::from_secs(3_600)).of_job(*id);
        request.send().unwrap().leased().unwrap().abandon();
        for name in ["a", "b"] {
            worker.add_finding(*id, crate::NewFinding::new(name, "payload")).unwrap();
        }
    }
    let (id, middle) = (worker.id(), ids[150]);

    type List = Box<dyn Fn(&Snapshot, usize) -> crate::Result<usize>>;
    let lists: [(&str, u64, List); 9] = [
        ("jobs", 1, Box::new(move |v, n| Ok(v.jobs(Some(middle), n)?.len()))),
        ("of prefix", 2, Box::new(|v, n| Ok(v.jobs_of_prefix(b"prefix 7", Some(99), n)?.len()))),
        ("leases", 2, Box::new(move |v, n| Ok(v.leases(Some((id, middle)), n)?.len()))),
        ("prefixes", 1, Box::new(|v, n| Ok(v.prefixes(Some(b"prefix 4"), n)?.len()))),
        ("findings", 1, Box::new(move |v, n| Ok(v.findings(Some((middle, b"a")), n)?.len()))),
        ("of job", 1, Box::new(move |v, n| Ok(v.findings_of(middle, None, n)?.len()))),
        ("workers", 2, Box::new(|v, n| Ok(v.workers(Some(WorkerId(2_000)), n)?.len()))),
        // 30 jobs a prefix, two reads each; three of each are held.
        ("progress", 70, Box::new(|v, n| Ok(v.progress_by_prefix(Some(b"prefix 4"), n)?.len()))),
        ("active", 3, Box::new(|v, n| Ok(v.active_since(Timestamp::MIN, None, n)?.len()))),
    ];
    for (name, each, list) in lists {
        for limit in [0, 1, 2, 20] {
            let mut length = 0;

            let cost = fleet.cost(|view| list(view, limit).map(|found| length = found));

            assert!(
                length <= limit && (limit == 0) == (length == 0),
                "{name}: {length} of {limit}"
            );
            // To find that a page is empty, and who is active, costs a step of 256 workers.
            let step = if name == "active" { 1_200 } else { 4 };
            assert!(cost <= each * limit as u64 + step, "{name}: {cost} rows for {limit}");
        }
    }
}

#[test]
fn findings_of_deleted_jobs_are_not_read() {
    let fleet = Fleet::new(100, 1);
    let ids = fleet.store.create_jobs((0..3u64).map(|n| NewJob::new("p", n * 10..n * 10 + 10)));
    let ids = ids.unwrap();
    let worker = fleet.store.register_worker(crate::NewWorker::new("pc-0").kind("pc")).unwrap();
    for id in &ids {
        for n in 0..50u8 {
            worker.add_finding(*id, crate::NewFinding::new([n], "payload")).unwrap();
        }
    }
    fleet
        .engine
        .write(crate::storage::Flush::Now, &mut |txn| {
            let mut control = crate::schema::meta::control(txn)?;
            control.deleting = vec![ids[1]];
            crate::schema::meta::store_control(txn, &control)
        })
        .unwrap();

    let (mut last, mut cost) = (Vec::<Vec<(JobId, u8)>>::new(), 0);
    for after in [None, Some((ids[0], &[48][..])), Some((ids[1], &[7])), Some((ids[2], &[0]))] {
        cost = cost.max(fleet.cost(|view| {
            last.push(view.findings(after, 3)?.iter().map(|f| (f.job, f.key[0])).collect());
            Ok(())
        }));
    }

    let [a, c] = [ids[0], ids[2]];
    let expected: [Vec<_>; 4] = [
        vec![(a, 0), (a, 1), (a, 2)],
        vec![(a, 49), (c, 0), (c, 1)],
        vec![(c, 0), (c, 1), (c, 2)],
        vec![(c, 1), (c, 2), (c, 3)],
    ];
    assert_eq!(last, expected);
    assert!(cost <= 3, "{cost} rows");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    /// A store that has no room for sums gives the same results as one that has.
    #[test]
    fn results_do_not_depend_on_which_sums_are_kept(
        room in 0..400usize,
        steps in proptest::collection::vec((1..700u64, 1..9u32), 1..6),
    ) {
        let mut fleet = Fleet::new(1_000, 9);
        let (little, plenty) = (Arc::new(ChunkSums::with_room_for(room)), Arc::default());
        for (records, worker) in steps {
            fleet.grow(records);
            let view = |sums: &Arc<ChunkSums>| {
                let txn = fleet.engine.snapshot().unwrap();
                Snapshot::new(txn, fleet.store.now(), 0, sums.clone()).unwrap()
            };
            let worker = WorkerId(worker);
            let since = at("2026-01-01T00:00:00Z").saturating_add(fleet.records as u32 / 2 * MINUTE);
            // Each without anything that the snapshot itself remembers.
            let all = |view: &dyn Fn() -> Snapshot| {
                (
                    view().lifetime(worker).unwrap(),
                    view().daily(worker, ..).unwrap(),
                    view().lifetime(Scope::Fleet).unwrap(),
                    view().daily(Scope::Fleet, ..).unwrap(),
                    view().finished_since(since).unwrap(),
                    view().workers(Some(WorkerId(2)), 3).unwrap(),
                    view().find_history(&crate::HistoryFilter::default().worker(worker), None, 200).unwrap(),
                )
            };
            let with_little = all(&|| view(&little));
            prop_assert_eq!(&with_little, &all(&|| view(&plenty)));
            prop_assert_eq!(&with_little, &all(&|| view(&Arc::default())));
        }
    }
}
