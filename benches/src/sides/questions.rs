//! The questions in SQL. The ways of using SQLite differ in how they keep days and months.

/// The question in SQL, given how a way of using SQLite finds the day of a batch, the month of a
/// day, the first of the last 30 days and today, and by what it orders one worker's batches.
///
/// Live history is added up by day before it is put beside the tier: faster than row by row.
macro_rules! question {
    ($question:expr, $day:literal, $month:literal, $first:literal, $today:literal, $newest:literal) => {{
        use crate::dashboard::Question as Q;
        use crate::sides::questions::{agg, sums, tier};
        match $question {
            Q::WorkerLifetime => concat!(
                "SELECT ", sums!(), " FROM (SELECT worker, ", tier!(), " FROM lifetime WHERE worker = :worker \
                 UNION ALL SELECT worker, ", agg!(), " FROM history WHERE worker = :worker)"
            ),
            Q::FleetLifetime => concat!(
                "SELECT ", sums!(), " FROM (SELECT worker, ", tier!(), " FROM lifetime UNION ALL SELECT worker, ", agg!(), " FROM history)"
            ),
            Q::WorkerDays => concat!(
                "SELECT ", sums!(), ", day FROM (SELECT worker, day, ", tier!(), " FROM daily WHERE worker = :worker \
                 UNION ALL SELECT worker, ", $day, " AS day, ", agg!(), " FROM history WHERE worker = :worker \
                 GROUP BY day) GROUP BY day ORDER BY day"
            ),
            Q::FleetDays => concat!(
                "SELECT ", sums!(), ", day FROM (SELECT worker, day, ", tier!(), " FROM daily \
                 UNION ALL SELECT worker, ", $day, " AS day, ", agg!(), " FROM history GROUP BY day) \
                 GROUP BY day ORDER BY day"
            ),
            Q::FleetLast30Days => concat!(
                "SELECT ", sums!(), ", day FROM (SELECT worker, day, ", tier!(), " FROM daily WHERE day >= ", $first, " \
                 UNION ALL SELECT worker, ", $day, " AS day, ", agg!(), " FROM history GROUP BY day) \
                 WHERE day >= ", $first, " GROUP BY day ORDER BY day"
            ),
            Q::FleetBestDay => concat!(
                "SELECT ", sums!(), ", day FROM (SELECT worker, day, ", tier!(), " FROM daily \
                 UNION ALL SELECT worker, ", $day, " AS day, ", agg!(), " FROM history GROUP BY day) \
                 GROUP BY day ORDER BY sum(items) DESC, day LIMIT 1"
            ),
            Q::WorkerMonths => concat!(
                "WITH live AS (SELECT worker, ", $day, " AS day, ", agg!(), " FROM history WHERE worker = :worker \
                 GROUP BY day) \
                 SELECT ", sums!(), ", month FROM (SELECT worker, month, ", tier!(), " FROM monthly WHERE worker = :worker \
                 UNION ALL SELECT worker, ", $month, " AS month, ", tier!(), " FROM live) GROUP BY month ORDER BY month"
            ),
            Q::FleetMonths => concat!(
                "WITH live AS (SELECT worker, ", $day, " AS day, ", agg!(), " FROM history GROUP BY day) \
                 SELECT ", sums!(), ", month FROM (SELECT worker, month, ", tier!(), " FROM monthly \
                 UNION ALL SELECT worker, ", $month, " AS month, ", tier!(), " FROM live) GROUP BY month ORDER BY month"
            ),
            Q::FleetBestMonth => concat!(
                "WITH live AS (SELECT worker, ", $day, " AS day, ", agg!(), " FROM history GROUP BY day) \
                 SELECT ", sums!(), ", month FROM (SELECT worker, month, ", tier!(), " FROM monthly \
                 UNION ALL SELECT worker, ", $month, " AS month, ", tier!(), " FROM live) \
                 GROUP BY month ORDER BY sum(items) DESC, month LIMIT 1"
            ),
            Q::FleetRate => concat!(
                "SELECT ", agg!(), ", count(DISTINCT worker) FROM history WHERE finished_at >= :now - 3600000000"
            ),
            Q::Slowed => concat!(
                "WITH ever AS (SELECT ", sums!(), ", worker FROM (SELECT worker, ", tier!(), " FROM lifetime \
                 UNION ALL SELECT worker, ", agg!(), " FROM history GROUP BY worker) GROUP BY worker), \
                 today AS (SELECT ", sums!(), ", worker FROM (SELECT worker, ", tier!(), " FROM daily WHERE day = ", $today, " \
                 UNION ALL SELECT worker, ", agg!(), " FROM history \
                 WHERE finished_at >= :now / 86400000000 * 86400000000 GROUP BY worker) GROUP BY worker) \
                 SELECT today.batches, today.errors, today.items, today.duration_us, today.min_rate, today.max_rate, \
                 today.first_at, today.last_at, ever.batches, ever.errors, ever.items, ever.duration_us, ever.min_rate, \
                 ever.max_rate, ever.first_at, ever.last_at, worker FROM today JOIN ever USING (worker) \
                 WHERE today.items * 1.0 / today.duration_us < ever.items * 1.0 / ever.duration_us \
                 ORDER BY (today.items * 1.0 / today.duration_us) / (ever.items * 1.0 / ever.duration_us), worker"
            ),
            Q::NewestOfJob => {
                "SELECT worker, job, range_start, range_end, items, duration_us, finished_at, error FROM history \
                 WHERE job = :job ORDER BY id DESC LIMIT 50"
            }
            Q::OneJob => "SELECT id, cursor, batches, items, worker, range_start, range_end, status, last_error FROM jobs WHERE id = :job",
            Q::JobsOfPrefix => {
                "SELECT id, cursor, batches, items, worker, range_start, range_end, status, last_error FROM jobs WHERE prefix = x'62656e6368' ORDER BY range_start"
            }
            Q::Leases => {
                "SELECT id, cursor, batches, items, worker, range_start, range_end, status, last_error FROM jobs WHERE status = 'leased' ORDER BY worker, id"
            }
            Q::Rows => {
                "SELECT (SELECT count(*) FROM history), (SELECT count(*) FROM daily), \
                 (SELECT count(*) FROM monthly), (SELECT count(*) FROM lifetime), \
                 (SELECT count(*) FROM jobs), (SELECT count(*) FROM workers)"
            }
            Q::Leaderboard => concat!(
                "WITH best AS (SELECT ", sums!(), ", worker FROM (SELECT worker, ", tier!(), " FROM lifetime \
                 UNION ALL SELECT worker, ", agg!(), " FROM history GROUP BY worker) \
                 GROUP BY worker ORDER BY sum(items) DESC, worker LIMIT 20) \
                 SELECT ", tier!(), ", name \
                 FROM best JOIN workers ON id = worker ORDER BY items DESC, worker"
            ),
            Q::Kinds => concat!(
                "SELECT ", sums!(), ", kind FROM (SELECT worker, ", tier!(), " FROM lifetime \
                 UNION ALL SELECT worker, ", agg!(), " FROM history GROUP BY worker) \
                 JOIN workers ON id = worker GROUP BY kind ORDER BY kind"
            ),
            Q::WorkerNewest => concat!(
                "SELECT worker, job, range_start, range_end, items, duration_us, finished_at, error FROM history \
                 WHERE worker = :worker ORDER BY ", $newest, " LIMIT 50"
            ),
            Q::Newest => {
                "SELECT worker, job, range_start, range_end, items, duration_us, finished_at, error FROM history \
                 ORDER BY id DESC LIMIT 50"
            }
            Q::NewestErrors => {
                "SELECT worker, job, range_start, range_end, items, duration_us, finished_at, error FROM history \
                 WHERE error IS NOT NULL ORDER BY id DESC LIMIT 20"
            }
            Q::Active => concat!(
                "WITH recent AS (SELECT worker, ", agg!(), " FROM history WHERE finished_at >= :now - 3600000000 \
                 GROUP BY worker), \
                 leases AS (SELECT worker, count(*) AS held, max(checkpoint_at) AS seen FROM jobs \
                 WHERE status = 'leased' GROUP BY worker) \
                 SELECT ", tier!(), ", id, \
                 coalesce(held, 0) FROM workers LEFT JOIN recent ON recent.worker = id \
                 LEFT JOIN leases ON leases.worker = id \
                 WHERE batches IS NOT NULL OR max(last_seen, coalesce(seen, 0)) >= :now - 3600000000 ORDER BY id"
            ),
            Q::JobCounts => "SELECT status, count(*) FROM jobs GROUP BY status",
            Q::Progress => include_str!("progress.sql"),
        }
    }};
}

/// The totals of a row of a tier.
macro_rules! tier {
    () => {
        "batches, errors, items, duration_us, min_rate, max_rate, first_at, last_at"
    };
}

/// The sums over rows of a tier, as such a row.
macro_rules! sums {
    () => {
        "sum(batches) AS batches, sum(errors) AS errors, sum(items) AS items, sum(duration_us) AS duration_us, \
         min(min_rate) AS min_rate, max(max_rate) AS max_rate, min(first_at) AS first_at, max(last_at) AS last_at"
    };
}

/// The sums over batches, as a row of a tier.
macro_rules! agg {
    () => {
        "count(*) AS batches, count(error) AS errors, sum(items) AS items, sum(duration_us) AS duration_us, \
         min(items * 1000000.0 / duration_us) AS min_rate, max(items * 1000000.0 / duration_us) AS max_rate, \
         min(finished_at) AS first_at, max(finished_at) AS last_at"
    };
}

pub(super) use {agg, question, sums, tier};
