//! The bytes of every record and key, frozen: a change that breaks one of these breaks files.
//!
//! If one fails, the file format has changed: give it a new version instead of new bytes here.

use std::fmt::Debug;

use crate::config::Caps;
use crate::schema::codec::{Decode, Encode, decode, encode};
use crate::schema::key;
use crate::schema::meta;
use crate::schema::rows::{
    Control, DailyRow, FindingRow, HistoryRow, ImportRow, ImportedRow, JobRow, LifetimeRow,
    MonthlyRow, Newest, Number, PrefixRow, Rolled, WorkerRow,
};
use crate::schema::tables;
use crate::storage::Table;
use crate::time::Timestamp;
use crate::types::{Hex, JobId, JobStatus, PastBatch, Receipt, Token, Totals, WorkerId};

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn totals() -> Totals {
    Totals {
        batches: 3,
        errors: 1,
        completed: 2,
        items: 1_000_000,
        duration_us: 5_000_000_000,
        min_rate: Some(0.5),
        max_rate: Some(2048.0),
        first_at: Some(at("2026-02-16T00:00:00Z")),
        last_at: Some(at("2026-02-16T23:59:59.999999Z")),
    }
}

fn job() -> JobRow {
    JobRow {
        prefix: b"\x00\xffkey".to_vec(),
        start: 0,
        end: 1 << 32,
        cursor: 70_000,
        status: JobStatus::Leased,
        holder: Some(WorkerId(7)),
        token: Token(3),
        token_live: true,
        leased_cursor: 69_000,
        sequence: 12,
        digest: 0x0123_4567_89ab_cdef,
        receipt: Some(Receipt::Moved { cursor: 70_000, deadline: at("2026-02-16T12:01:00Z") }),
        deadline: at("2026-02-16T12:01:00Z"),
        length_us: 60_000_000,
        indexed: at("2026-02-16T12:00:30Z"),
        priority: -5,
        attempts: 2,
        max_attempts: Some(9),
        batches: 12,
        errors: 2,
        error_positions: 20_000,
        findings: 5,
        items: 70_000,
        duration_us: 1_234_567,
        created_at: at("2026-02-15T00:00:00Z"),
        leased_at: Some(at("2026-02-16T11:59:30Z")),
        checkpoint_at: Some(at("2026-02-16T12:00:00Z")),
        ended_at: None,
        last_error: Some("timeout".into()),
        note: Some("page 3".into()),
    }
}

#[track_caller]
fn check<T: Encode + Decode + PartialEq + Debug>(record: &T, golden: &str) {
    assert_eq!(Hex(&encode(record)).to_string(), golden, "the bytes of {record:?}");
    assert_eq!(decode::<T>(&encode(record)).as_ref(), Ok(record));
}

#[test]
fn records_keep_their_bytes() {
    check(&Number(1), "0101");
    check(
        &Control {
            caps: Caps::default(),
            next_job: 300,
            next_worker: 8,
            jobs: [1, 2, 3, 4, 5],
            history_settling: true,
            workers_settling: Some(WorkerId(4)),
            deleting: vec![JobId(9)],
            latest: at("2026-02-16T12:00:00Z"),
            repairing: Some((at("2026-02-16T12:00:00Z"), JobId(9))),
        },
        "01fb1027fbe803fbe803fb2c010801020304050101040109fd00607e63df950c0001fd00607e63df950c0009",
    );
    check(
        &WorkerRow {
            name: "pc-01".into(),
            kind: "pc".into(),
            metadata: [("os".to_string(), "linux".to_string())].into(),
            first_seen: at("2026-02-15T00:00:00Z"),
            last_seen: at("2026-02-16T12:00:00Z"),
            last_prefix: Some(b"\x00\xffkey".to_vec()),
        },
        "010570632d303102706301026f73056c696e7578fd0040f809a3950c00fd00607e63df950c00010500ff6b6579",
    );
    check(
        &job(),
        "010500ff6b657900fd0000000001000000fc701101000101070301fc880d01000cfdefcdab89674523010100fc70110100fd006ea56adf950c00fd006ea56adf950c00fc00879303fd00e71167df950c00090201090c02fb204e05fc70110100fc87d61200fd0040f809a3950c0001fd00d9ea5fdf950c0001fd00607e63df950c0000010774696d656f75740106706167652033",
    );
    check(
        &PrefixRow {
            jobs: [1, 2, 3, 4, 5],
            positions: 1 << 40,
            done: 70_000,
            busy_us: 1_234_567,
            covered: (0, 1 << 32),
            paused: true,
            head: Some((-5, JobId(300))),
        },
        "010102030405fd0000000000010000fc70110100fc87d6120000fd0000000001000000010109fb2c01",
    );
    check(
        &HistoryRow {
            batch: PastBatch {
                worker: WorkerId(7),
                job: Some(JobId(300)),
                start: 60_000,
                end: 70_000,
                items: 9_999,
                duration: std::time::Duration::from_millis(20),
                finished_at: at("2026-02-16T12:00:00Z"),
                outcome: crate::types::BatchOutcome::Completed,
                error: Some("timeout".into()),
            },
        },
        "010701fb2c01e0d403904e8f4ea09c0180c0f99bf6bba50601010774696d656f7574",
    );
    check(
        &crate::schema::rows::CountersRow(crate::Counters {
            session: "run 1".into(),
            batches: 3,
            errors: 1,
            items: 1_000_000,
            duration_us: 5_000_000_000,
        }),
        "010572756e20310301c0843d80e497d012",
    );
    check(
        &DailyRow(totals()),
        "01030102c0843d80e497d01201000000000000e03f000000000000a0400180809cadb4b9a506ffbfddeec102",
    );
    check(&DailyRow(Totals::default()), "0100000000000000");
    check(
        &MonthlyRow { totals: totals(), rolled: Rolled::Everything },
        "01030102c0843d80e497d01201000000000000e03f000000000000a0400180809cadb4b9a506ffbfddeec10201",
    );
    check(
        &LifetimeRow {
            totals: totals(),
            rolled: Rolled::Part(totals()),
            days: 2,
            months: 0,
            day: Newest(Some((at("2026-02-16T12:00:00Z").day(), DailyRow(totals())))),
            month: Newest(None),
        },
        "01030102c0843d80e497d01201000000000000e03f000000000000a0400180809cadb4b9a506ffbfddeec10202030102c0843d80e497d01201000000000000e03f000000000000a0400180809cadb4b9a506ffbfddeec102020001fb28a0030102c0843d80e497d01201000000000000e03f000000000000a0400180809cadb4b9a506ffbfddeec10200",
    );
    check(
        &FindingRow {
            payload: b"hash".to_vec(),
            worker: WorkerId(7),
            found_at: at("2026-02-16T12:00:00Z"),
            late: true,
        },
        "01046861736807fd00607e63df950c0001",
    );
    check(&ImportRow { number: 17, digest: 0x0123_4567_89ab_cdef }, "0111fdefcdab8967452301");
    check(
        &ImportedRow(totals()),
        "01030102c0843d80e497d01201000000000000e03f000000000000a0400180809cadb4b9a506ffbfddeec102",
    );
}

#[test]
fn keys_keep_their_bytes() {
    let (worker, job) = (WorkerId(7), JobId(300));
    let day = at("2026-02-16T12:00:00Z").day();
    for (key, golden) in [
        (key::number(5).to_vec(), "0000000000000005"),
        (key::job(job).to_vec(), "000000000000012c"),
        (key::worker(worker).to_vec(), "00000007"),
        (key::day(worker, day).to_vec(), "0000000780005014"),
        (key::month(worker, day.month()).to_vec(), "00000007800002a1"),
        (key::job_range(b"\x00\xff", 16), "0200ff0000000000000010"),
        (key::queue(-5, job).to_vec(), "80000004000000000000012c"),
        (key::queue_by_prefix(b"\x00\xff", 5, job), "0200ff7ffffffa000000000000012c"),
        (key::lease(at("2026-02-16T12:00:00Z"), job).to_vec(), "80064aefb1bf3000000000000000012c"),
        (key::holder(worker, job).to_vec(), "00000007000000000000012c"),
        (
            key::job_ended(b"\x00\xff", JobStatus::Failed, at("2026-02-16T12:00:00Z"), job),
            "0200ff0380064aefb1bf3000000000000000012c",
        ),
        (key::finding(job, b"nonce"), "000000000000012c6e6f6e6365"),
        (
            key::finding_by_time(at("2026-02-16T12:00:00Z"), job, b"nonce"),
            "80064aefb1bf3000000000000000012c6e6f6e6365",
        ),
        (key::finding_by_key(b"nonce", job), "056e6f6e6365000000000000012c"),
        (meta::import_key("x"), "696d706f72742f78"),
        (meta::IMPORTED_KEY.to_vec(), "696d706f72746564"),
    ] {
        assert_eq!(Hex(&key).to_string(), golden);
    }
}

#[test]
fn tables_keep_their_names() {
    let names = tables::ALL.map(Table::name).join(" ");
    assert_eq!(
        names,
        "meta workers worker_names jobs job_ranges prefixes job_queue job_queue_by_prefix job_leases \
         job_holders jobs_ended history daily monthly lifetime findings findings_by_time findings_by_key"
    );
}

#[test]
fn digests_keep_their_values() {
    use crate::types::Action;
    use crate::types::{Batch, Import};

    let batch = Batch::new(5..9, std::time::Duration::from_millis(2))
        .with_error("e")
        .with_finding(b"k", b"p");
    let action = Action::Checkpoint(batch);
    let digest = crate::schema::codec::digest(&action);
    assert_eq!(format!("{digest:016x}"), "04e4d14e9854b2c9");

    let day = at("2026-02-16T12:00:00Z").day();
    let import = Import::new("server", 7).daily(WorkerId(7), day, totals());
    let digest = crate::schema::codec::digest(&import);
    assert_eq!(format!("{digest:016x}"), "56fe2adf27ee7c8b");
}

#[test]
fn every_prefix_and_every_flipped_bit_of_a_record_gives_a_value_or_an_error() {
    let bytes = encode(&job());
    for length in 0..bytes.len() {
        assert!(decode::<JobRow>(&bytes[..length]).is_err());
    }
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        // A value or an error will do; a panic or a large allocation would not.
        let _ = decode::<JobRow>(&flipped);
        let _ = decode::<LifetimeRow>(&flipped);
        let _ = decode::<Control>(&flipped);
    }
}
