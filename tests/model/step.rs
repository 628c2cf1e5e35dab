//! The commands of a random run, as data that shrinks well: everything is a small number, and
//! means something in any state.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

#[derive(Debug, Clone)]
pub enum Step {
    Register {
        worker: u8,
        kind: u8,
    },
    Create(Vec<NewJob>),
    FindOrCreate(NewJob),
    Lease {
        worker: u8,
        secs: u64,
        wanted: Wanted,
        resume: bool,
    },
    Held(Held),
    /// Several commands in one transaction.
    Many(Vec<Held>),
    Cancel(u8),
    Retry(u8),
    Delete(u8),
    ReleaseStale {
        secs: u64,
    },
    Alone {
        worker: u8,
        job: u8,
        key: u8,
        unique: bool,
    },
    /// A lease of the next free positions of a prefix.
    NextRange {
        worker: u8,
        prefix: u8,
        positions: u64,
        start: u64,
        length: u64,
    },
    StartOver {
        job: u8,
        /// How far behind the start of its range.
        by: u64,
    },
    Report {
        worker: u8,
        session: u8,
        items: u64,
        errors: u64,
    },
    Import {
        source: u8,
        number: Number,
        records: Vec<Record>,
    },
    /// An earlier import again, as it was: which one, counted from the latest.
    ImportAgain {
        back: u16,
    },
    /// More imports than any list of the latest ones would hold.
    ManyImports,
    Caps {
        history: Option<u32>,
        daily: Option<u32>,
        monthly: Option<u32>,
    },
    /// Moves the clock, forward or back.
    Clock {
        secs: i64,
    },
    /// Opens the storage again in place.
    Reopen,
    /// Closes the store and opens it anew.
    Restart,
    /// Takes a snapshot and holds it.
    Hold,
    /// Compares the snapshot that is held with what the model was when it was taken.
    Look,
}

#[derive(Debug, Clone)]
pub struct NewJob {
    pub prefix: u8,
    pub start: u64,
    pub length: u64,
    pub priority: i32,
    pub max_attempts: Option<u32>,
    /// How many positions are done elsewhere.
    pub done: Option<u64>,
}

#[derive(Debug, Clone)]
pub enum Wanted {
    Any,
    Prefix(u8),
    Job(u8),
}

/// A command under a lease.
#[derive(Debug, Clone)]
pub struct Held {
    /// Which lease, counted from the one handed out last.
    pub back: u8,
    pub turn: Turn,
    pub act: Act,
}

#[derive(Debug, Clone)]
pub enum Turn {
    Next,
    /// The last command again, as it was.
    Repeat,
    /// A sequence number that is off by so much.
    Off(i64),
}

#[derive(Debug, Clone)]
pub enum Act {
    Checkpoint {
        /// How far from the cursor it starts; 0 for a right one.
        shift: i64,
        positions: u64,
        items: u64,
        millis: u64,
        error: bool,
        finding: Option<(u8, bool)>,
        /// Whether it was tried in vain.
        fails: bool,
    },
    Renew,
    Heartbeat(u8),
    Fail,
    Release,
}

/// The number of an import, beside the last one of its source.
#[derive(Debug, Clone)]
pub enum Number {
    Above(u64),
    /// So much below it; 0 for the last one itself.
    Below(u64),
}

/// A record that is imported, so many days before the present.
#[derive(Debug, Clone)]
pub struct Record {
    pub tier: Tier,
    pub worker: u8,
    pub days_ago: i32,
    pub batches: u64,
    pub items: u64,
    pub millis: u64,
    pub timed: bool,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Tier {
    History,
    Daily,
    Monthly,
    Lifetime,
}

pub fn steps(most: usize) -> impl Strategy<Value = Vec<Step>> {
    // These take a thousand times as long as others.
    vec(prop_oneof![8_000 => step(), 1 => Just(Step::ManyImports)], 1..=2 * most)
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0..4u8, 0..3u8).prop_map(|(worker, kind)| Step::Register { worker, kind }),
        6 => vec(new_job(), 1..4).prop_map(Step::Create),
        3 => new_job().prop_map(Step::FindOrCreate),
        18 => (0..5u8, 1..200u64, wanted(), any::<bool>())
            .prop_map(|(worker, secs, wanted, resume)| Step::Lease { worker, secs, wanted, resume }),
        50 => held().prop_map(Step::Held),
        6 => vec(held(), 2..6).prop_map(Step::Many),
        2 => any::<u8>().prop_map(Step::Cancel),
        3 => any::<u8>().prop_map(Step::Retry),
        4 => any::<u8>().prop_map(Step::Delete),
        1 => (0..1000u64).prop_map(|secs| Step::ReleaseStale { secs }),
        2 => (0..5u8, any::<u8>(), 0..4u8, any::<bool>())
            .prop_map(|(worker, job, key, unique)| Step::Alone { worker, job, key, unique }),
        5 => (0..5u8, 0..4u8, 1..60u64, 0..1_100u64, 0..300u64).prop_map(
            |(worker, prefix, positions, start, length)| Step::NextRange {
                worker, prefix, positions, start, length,
            },
        ),
        2 => (any::<u8>(), 0..110u64).prop_map(|(job, by)| Step::StartOver { job, by }),
        3 => (0..5u8, 0..2u8, 0..50u64, 0..3u64)
            .prop_map(|(worker, session, items, errors)| Step::Report { worker, session, items, errors }),
        6 => (0..3u8, number(), vec(record(), 0..4))
            .prop_map(|(source, number, records)| Step::Import { source, number, records }),
        3 => any::<u16>().prop_map(|back| Step::ImportAgain { back }),
        3 => (option::of(1..9u32), option::of(1..5u32), option::of(1..4u32))
            .prop_map(|(history, daily, monthly)| Step::Caps { history, daily, monthly }),
        14 => clock().prop_map(|secs| Step::Clock { secs }),
        1 => Just(Step::Reopen),
        1 => Just(Step::Restart),
        2 => Just(Step::Hold),
        2 => Just(Step::Look),
    ]
}

fn clock() -> impl Strategy<Value = i64> {
    const DAY: i64 = 86_400;
    prop_oneof![
        8 => 0..120i64,
        4 => 0..2 * DAY,
        2 => 0..100 * DAY,
        2 => -120..0i64,
        1 => -400 * DAY..400 * DAY,
    ]
}

fn new_job() -> impl Strategy<Value = NewJob> {
    let length = prop_oneof![9 => 1..100u64, 1 => Just(0)];
    let priority = prop_oneof![3 => Just(0), 1 => -2..3];
    let done = prop_oneof![6 => Just(None), 1 => (0..100u64).prop_map(Some)];
    (0..3u8, 0..1_000u64, length, priority, option::of(1..4u32), done).prop_map(
        |(prefix, start, length, priority, max_attempts, done)| NewJob {
            prefix,
            start,
            length,
            priority,
            max_attempts,
            done,
        },
    )
}

fn wanted() -> impl Strategy<Value = Wanted> {
    prop_oneof![
        6 => Just(Wanted::Any),
        2 => (0..4u8).prop_map(Wanted::Prefix),
        2 => any::<u8>().prop_map(Wanted::Job),
    ]
}

fn held() -> impl Strategy<Value = Held> {
    let back = prop_oneof![12 => Just(0u8), 6 => 1..4u8, 1 => any::<u8>()];
    let turn = prop_oneof![
        16 => Just(Turn::Next),
        2 => Just(Turn::Repeat),
        1 => (-2..3i64).prop_map(Turn::Off),
    ];
    (back, turn, act()).prop_map(|(back, turn, act)| Held { back, turn, act })
}

fn act() -> impl Strategy<Value = Act> {
    let shift = prop_oneof![30 => Just(0), 1 => -3..4i64];
    let positions = prop_oneof![20 => 1..20u64, 1 => Just(0), 1 => Just(1000)];
    let millis = prop_oneof![8 => 1..5_000u64, 1 => Just(0)];
    let finding = option::of((0..4u8, any::<bool>()));
    let fails = prop_oneof![9 => Just(false), 1 => Just(true)];
    let checkpoint = (shift, positions, 0..1000u64, millis, any::<bool>(), finding, fails)
        .prop_map(|(shift, positions, items, millis, error, finding, fails)| Act::Checkpoint {
            shift,
            positions,
            items,
            millis,
            error,
            finding,
            fails,
        });
    prop_oneof![
        20 => checkpoint,
        2 => Just(Act::Renew),
        2 => any::<u8>().prop_map(Act::Heartbeat),
        2 => Just(Act::Fail),
        2 => Just(Act::Release),
    ]
}

fn number() -> impl Strategy<Value = Number> {
    prop_oneof![
        6 => (1..4u64).prop_map(Number::Above),
        1 => (0..4u64).prop_map(Number::Below),
    ]
}

fn record() -> impl Strategy<Value = Record> {
    let tier = prop_oneof![
        Just(Tier::History),
        Just(Tier::Daily),
        Just(Tier::Monthly),
        Just(Tier::Lifetime)
    ];
    let days_ago = prop_oneof![3 => 0..4, 2 => 0..100, 1 => -500..5_000];
    (tier, 0..5u8, days_ago, 1..50u64, 0..10_000u64, 0..100_000u64, any::<bool>()).prop_map(
        |(tier, worker, days_ago, batches, items, millis, timed)| Record {
            tier,
            worker,
            days_ago,
            batches,
            items,
            millis,
            timed,
        },
    )
}
