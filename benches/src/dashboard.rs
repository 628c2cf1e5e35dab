//! The questions of a dashboard, and answers in a form that can be compared between sides.

use milepost::Totals;

/// A question, asked of every side in its own way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Question {
    /// Everything the first worker ever did.
    WorkerLifetime,
    /// All days of the first worker.
    WorkerDays,
    /// All months of the first worker.
    WorkerMonths,
    /// The newest 50 batches of the first worker.
    WorkerNewest,
    /// Everything the fleet ever did.
    FleetLifetime,
    /// All days of the fleet.
    FleetDays,
    /// The last 30 days of the fleet.
    FleetLast30Days,
    /// All months of the fleet.
    FleetMonths,
    /// The best day of the fleet.
    FleetBestDay,
    /// The best 20 workers by items.
    Leaderboard,
    /// Totals by kind of worker.
    Kinds,
    /// The newest 50 batches.
    Newest,
    /// The newest 20 batches with an error.
    NewestErrors,
    /// The workers seen in the last hour, what they did in it, and how many jobs they hold.
    Active,
    /// Jobs by status.
    JobCounts,
    /// How far the jobs of the prefix are, and how fast.
    Progress,
    /// The best month of the fleet.
    FleetBestMonth,
    /// What the fleet did in the last hour, and how many workers took part.
    FleetRate,
    /// The workers whose rate today is below that of their lifetime, the slowest first.
    Slowed,
    /// The newest 50 batches of the first job.
    NewestOfJob,
    /// The first job.
    OneJob,
    /// All jobs of the prefix.
    JobsOfPrefix,
    /// The jobs that are held, the one whose lease expires first first.
    Leases,
    /// How many rows the tables have.
    Rows,
}

impl Question {
    /// All of them.
    pub const ALL: [Question; 24] = [
        Question::WorkerLifetime,
        Question::WorkerDays,
        Question::WorkerMonths,
        Question::WorkerNewest,
        Question::FleetLifetime,
        Question::FleetDays,
        Question::FleetLast30Days,
        Question::FleetMonths,
        Question::FleetBestDay,
        Question::Leaderboard,
        Question::Kinds,
        Question::Newest,
        Question::NewestErrors,
        Question::Active,
        Question::JobCounts,
        Question::Progress,
        Question::FleetBestMonth,
        Question::FleetRate,
        Question::Slowed,
        Question::NewestOfJob,
        Question::OneJob,
        Question::JobsOfPrefix,
        Question::Leases,
        Question::Rows,
    ];

    /// In words.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Question::WorkerLifetime => "one worker: lifetime",
            Question::WorkerDays => "one worker: all days",
            Question::WorkerMonths => "one worker: all months",
            Question::WorkerNewest => "one worker: newest 50 batches",
            Question::FleetLifetime => "fleet: lifetime",
            Question::FleetDays => "fleet: all days",
            Question::FleetLast30Days => "fleet: last 30 days",
            Question::FleetMonths => "fleet: all months",
            Question::FleetBestDay => "fleet: best day",
            Question::Leaderboard => "leaderboard, 20",
            Question::Kinds => "fleet: by kind",
            Question::Newest => "newest 50 batches",
            Question::NewestErrors => "newest 20 errors",
            Question::Active => "workers active in the last hour",
            Question::JobCounts => "jobs by status",
            Question::Progress => "progress of a prefix",
            Question::FleetBestMonth => "fleet: best month",
            Question::FleetRate => "fleet: the last hour",
            Question::Slowed => "workers slower today than ever",
            Question::NewestOfJob => "one job: newest 50 batches",
            Question::OneJob => "one job",
            Question::JobsOfPrefix => "jobs of a prefix",
            Question::Leases => "current leases",
            Question::Rows => "rows of each table",
        }
    }

    /// Whether it looks at one worker only.
    #[must_use]
    pub fn of_one_worker(self) -> bool {
        use Question::{WorkerDays, WorkerLifetime, WorkerMonths, WorkerNewest};
        matches!(self, WorkerLifetime | WorkerDays | WorkerMonths | WorkerNewest)
    }

    /// Whether the targets compare it with `sqlite-tuned`: the fleet, day, month and leaderboard
    /// questions.
    #[must_use]
    pub fn is_compared(self) -> bool {
        use Question::{
            FleetBestDay, FleetBestMonth, FleetDays, FleetLast30Days, FleetLifetime, FleetMonths,
            Kinds, Leaderboard, WorkerDays, WorkerMonths,
        };
        matches!(
            self,
            FleetLifetime
                | FleetDays
                | FleetLast30Days
                | FleetMonths
                | FleetBestDay
                | FleetBestMonth
                | Kinds
                | WorkerDays
                | WorkerMonths
                | Leaderboard
        )
    }
}

/// An answer.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// Totals by the number of a day or month; a lifetime has the number 0.
    Periods(Vec<(i32, Totals)>),
    /// Totals by name.
    Named(Vec<(String, Totals)>),
    /// Batches.
    Batches(Vec<Record>),
    /// Totals and leases by worker.
    Active(Vec<(usize, Totals, u64)>),
    /// Jobs by status: pending, leased, completed, failed, cancelled.
    Counts([u64; 5]),
    /// Positions done, of how many, and how many a second the held jobs move.
    Progress(u64, u64, f64),
    /// Totals today and ever, by worker.
    Standings(Vec<(usize, Totals, Totals)>),
    /// Jobs, with their cursors, batches and items.
    Jobs(Vec<(usize, u64, u64, u64)>),
    /// Rows of history, daily, monthly, lifetime, jobs and workers.
    Rows([u64; 6]),
}

impl Answer {
    /// Whether two sides say the same: exactly, but for the last digits of a rate worked out in
    /// another order.
    #[must_use]
    pub fn agrees_with(&self, other: &Answer) -> bool {
        match (self, other) {
            (Answer::Progress(done, total, rate), Answer::Progress(done2, total2, rate2)) => {
                (done, total) == (done2, total2) && (rate - rate2).abs() <= rate.abs() * 1e-9
            }
            _ => self == other,
        }
    }
}

/// One batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Who did it.
    pub worker: usize,
    /// The job it belonged to.
    pub job: usize,
    /// First position.
    pub from: u64,
    /// One past the last position.
    pub to: u64,
    /// Items handled.
    pub items: u64,
    /// Time it took, in microseconds.
    pub duration_us: u64,
    /// When it was finished, in microseconds since 1970.
    pub finished_at: i64,
    /// What went wrong.
    pub error: Option<String>,
}
